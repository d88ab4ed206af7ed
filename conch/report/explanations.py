"""What each figure of the report says: shown where a mouse rests on it, and once for those who have none."""

FIGURES = {
    "judged by": "the first metric of the recipe's own score, on held-out data",
    "weights": "that metric of the trained weights, in PyTorch",
    "ONNX": "the same of the ONNX file, in ONNX Runtime",
    "live": "the same of what a running server answered: conch report score",
    "floor": "what the metric must reach, or the weights are not exported",
    "parity": "of all differences between the ONNX file and its reference that which uses most of what is allowed; "
    "of pixels in steps of a pixel, 1 of 255",
    "p50 ms": "half of the requests under load were answered within this time",
    "p95 ms": "95 of 100 requests under load were answered within this time",
    "p99 ms": "99 of 100 requests under load were answered within this time",
    "max ms": "the slowest request under load",
    "requests/s": "answered requests a second under load, and not the most that the server can do",
    "promise": "what the load test says of the promised latency, rate and share of errors: KEPT, BROKEN, or INVALID "
    "where it showed nothing",
    "compared": "answers that were held against the golden one",
    "wrong": "answers that were not the golden one",
    "failed": "requests without an answer, or with a wrong one",
    "allowed": "the error up to which the file is as exact as its reference itself",
    "ONNX Runtime": "the largest error of the ONNX file",
    "verdict": "as exact as the reference, worse but within the tolerance, or wrong",
    "largest in": "where in the grid the largest error is",
    "same as used by": "the stage that used the file when it had this hash",
    "size": "bytes, as a share of the fp32 file's",
    "speed": "how many times as fast as the fp32 file, at the export, on the largest batch with one thread",
    "layers in fp32": "those that the gate kept there, of all that could be changed",
}
"""By the name of the column."""

PICTURES = {
    "curves.png": (
        "learning curves",
        "what is minimised, and what is judged by, epoch by epoch, of trained examples and of held-out ones",
    ),
    "samples.png": ("held-out samples", "what the weights make of examples that they were not trained on, or how"),
}
"""Of a checkpoint: the caption, and what is to be seen."""
