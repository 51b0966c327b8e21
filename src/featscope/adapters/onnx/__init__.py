"""The adapter for ONNX files, without torch."""
