"""MMDetection, MMRotate and what else runs by MMEngine."""
