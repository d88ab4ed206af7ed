"""How fast the same ONNX files are served: ours, its peers and ONNX Runtime itself, driven by wrk."""
