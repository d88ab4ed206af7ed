"""A module to a clean ONNX graph: both exporters, and the passes that fold what they leave behind."""
