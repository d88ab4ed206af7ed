"""Any ONNX file against what it has to compute: a module, another ONNX file, or recorded answers."""
