"""Capturing: the outputs of any layer of a PyTorch model, while it runs as it always does."""
