"""Capture the outputs of any layer of a PyTorch model while the model runs unchanged."""
