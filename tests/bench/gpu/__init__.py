"""The same models on a GPU: PyTorch, torch.compile and ONNX Runtime in process, and served; docs/benchmarks-gpu.md."""
