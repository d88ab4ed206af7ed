"""ONNX files of unknown origin: inspected, tried, and what each Triton release can load."""
