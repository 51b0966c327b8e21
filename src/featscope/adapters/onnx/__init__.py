"""ONNX files, without torch."""
