"""The adapter for transformers."""
