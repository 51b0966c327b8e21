"""Explain detections: find their source in the raw output, and the parts of the image and features that caused them."""
