"""Changes to an ONNX file of unknown origin without which it could not be served, each undone for the proof."""
