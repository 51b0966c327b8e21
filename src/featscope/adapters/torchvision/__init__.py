"""The adapter for torchvision."""
