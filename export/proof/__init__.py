"""The proof of an ONNX file: the parity grid, its references and the recipe's score."""
