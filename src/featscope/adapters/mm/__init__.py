"""The adapter for MMDetection, MMRotate and other packages that run on MMEngine."""
