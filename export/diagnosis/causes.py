"""What usually makes an operator of an exported graph answer otherwise than PyTorch, by operator."""

from __future__ import annotations

FROZEN = (
    "a size of the example was written into the graph as a constant: in the module use -1, flatten(1) or "
    "tensor.shape[i] instead of a number or len(tensor)"
)
WEIGHTS = (
    "its weights are not the module's (the file was changed after the export, or batch normalisation was folded with "
    "other statistics), or its padding, stride or groups were translated otherwise"
)
REDUCED = "it reduces over other axes than PyTorch does, or over the batch"
SELECTED = "an index was computed in Python and frozen at the example's, or counts from the other end"
OVERFLOW = "its input leaves the range in which float32 gives a number: overflow, division by zero, log or root of <= 0"

_BY_OPERATORS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("Reshape", "Expand", "Tile", "ConstantOfShape", "Flatten", "Squeeze", "Unsqueeze", "Split"), FROZEN),
    (("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum"), WEIGHTS),
    (
        ("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"),
        "it normalises with other statistics: a module in training mode, other running statistics, or another epsilon",
    ),
    (
        ("LSTM", "GRU", "RNN", "Scan", "Loop"),
        "gates in another order, a direction or initial state mixed up, or the length frozen at the example's",
    ),
    (("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd", "CumSum"), REDUCED),
    (("Softmax", "LogSoftmax", "Hardmax", "ArgMax", "ArgMin", "TopK"), f"{REDUCED}; ties may be broken otherwise"),
    (("Gather", "GatherElements", "GatherND", "Slice", "ScatterND", "ScatterElements"), SELECTED),
    (("Resize", "Upsample", "GridSample"), "align_corners, antialias or the rounding of coordinates differ"),
    (("AveragePool", "MaxPool", "LpPool"), "ceil_mode, count_include_pad or the padding differ"),
    (("If", "Where"), "a Python branch on a value was taken as for the example: use torch.where"),
    (("Round", "Cast", "QuantizeLinear", "Mod", "Floor", "Ceil"), "rounding, overflow or sign differ between dtypes"),
    (("Div", "Pow", "Sqrt", "Log", "Exp", "Reciprocal"), OVERFLOW),
    (("Add", "Sub", "Mul"), "a constant operand is not the module's, or was frozen at the example's"),
    (("Gelu", "Erf", "Tanh", "Sigmoid", "HardSwish"), "another approximation of the function (GELU with tanh or erf)"),
    (("Dropout", "Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
     "the graph draws random numbers: a dropout or noise layer is active"),
    (("Transpose", "Concat", "Pad"), "axes in another order, or padding at the other end"),
    (("DequantizeLinear", "MatMulInteger", "ConvInteger", "QLinearConv", "QLinearMatMul"),
     "a scale or zero point does not fit the values"),
)  # fmt: skip

_CAUSES = {operator: cause for operators, cause in _BY_OPERATORS for operator in operators}
UNKNOWN = "the exporter translated this operator otherwise than PyTorch computes it; try the other exporter"
MIXED = "it makes rows of a batch depend on each other; without it, a row gives the same answer in every batch"


def usual_cause(operator: str) -> str:
    """What usually makes this ONNX operator depart from PyTorch."""
    return _CAUSES.get(operator, UNKNOWN)
