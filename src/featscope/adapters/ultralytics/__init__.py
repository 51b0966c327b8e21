"""The adapter for Ultralytics."""
