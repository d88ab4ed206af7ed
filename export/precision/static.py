"""Static 8-bit quantization: ranges from training inputs, quantize and dequantize nodes around each operator (QDQ)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from export.precision.files import is_large
from export.precision.groups import groups_of
from export.precision.original import Arrays, Original
from export.precision.prepare import BETWEEN, WEIGHTED, strip
from export.precision.quiet import quiet
from export.precision.target import Target

Method = Literal["entropy", "percentile", "min-max"]
METHODS: dict[Method, CalibrationMethod] = {
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
    "min-max": CalibrationMethod.MinMax,
}

# Every intermediate tensor of all rows is held in memory while the histograms are made.
CALIBRATION_ROWS = 128
CALIBRATION_BATCH = 32


class _Reader(CalibrationDataReader):
    """Training inputs as they are run, in batches or one by one."""

    def __init__(self, original: Original) -> None:
        some = {name: array[:CALIBRATION_ROWS] for name, array in original.calibration.items()}
        self._feeds = original.feeds(some, CALIBRATION_BATCH)

    def get_next(self) -> Arrays | None:
        return next(self._feeds, None)


class StaticQuantizer:
    """Quantizes one prepared file again and again; the ranges of each method are measured once."""

    def __init__(self, prepared: Path, original: Original, target: Target) -> None:
        """Args:
        prepared: What `prepare` wrote; its folder takes the measured ranges.
        original: Of which it was made; gives the training inputs.
        target: The 8-bit types.
        """
        self.prepared, self.original, self.target = prepared, original, target
        model = onnx.load(prepared)
        self.groups = groups_of(model)
        self._nodes = [node.name for node in model.graph.node]

    def quantize(self, path: Path, method: Method, groups: set[str]) -> None:
        """Write the file with `groups` in int8 and all else in fp32 to `path`."""
        chosen = {name for group in groups for name in self.groups[group]}
        with quiet():
            quantize_static(
                self.prepared,
                path,
                _Reader(self.original),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*WEIGHTED, *BETWEEN],
                nodes_to_exclude=[name for name in self._nodes if name not in chosen],
                per_channel=True,
                reduce_range=self.target.reduce_range,
                activation_type=self.target.activations,
                weight_type=QuantType.QInt8,
                calibrate_method=METHODS[method],
                calibration_cache_path=self.prepared.with_suffix(f".{method}.json"),
                extra_options={"ActivationSymmetric": self.target.symmetric},
                use_external_data_format=is_large(self.prepared),
            )
        strip(path)
