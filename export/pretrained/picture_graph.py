"""An image processor as a graph: the bytes of PNG files in, the model's pixels out.

PNG is decoded by `DecodeImage` of onnxruntime-extensions. That operator reads JPEG too, but ends the whole process, a
server's with all its models, on a file that is not whole (microsoft/onnxruntime-extensions issue 1094), and spreads
halved colours otherwise than Pillow: so nothing but PNG reaches it, and the graph looks at the file's head first.

Resize has `antialias` and `exclude_outside`, by which it is Pillow's own algorithm, on 8 bits and rounded after each
direction as there; ONNX Runtime computes the weights of the filter in float32 and Pillow in float64, so that a value
may be rounded to its neighbour (`export/pretrained/picture_proof.py`).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser

from conch.contracts.errors import ConchError
from export.pretrained.picture_steps import Steps
from serving.onnx_files.custom_operators import PICTURE_DOMAIN, installed_library

PICTURE = "image"
PIXELS = "pixel_values"
MOST_PIXELS = 1 << 26
"""Of a picture: a file of some kilobytes may say that it has billions."""
OLDEST_OPSET = 18
"""The first whose Resize has antialias."""

_HEAD = "137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82"
"""What each PNG has before its width: the signature, length and name of IHDR (PNG specification, 5.2 and 11.2.2)."""

_GRAPH = """
<ir_version: {ir_version}, opset_import: ["": {opset}, "{domain}": 1]>
pictures (uint8[batch, bytes] image) => (float[batch, 3, {height}, {width}] pixel_values)
<
  int64[1] p_zero = {{0}}, int64[1] p_one = {{1}}, int64[1] p_two = {{2}}, int64[1] p_end = {{9223372036854775807}},
  int64[16] p_head = {{{head}}}, int64[1] p_16 = {{16}}, int64[1] p_20 = {{20}}, int64[1] p_24 = {{24}},
  int64[1] p_25 = {{25}}, int64[4] p_places = {{16777216, 65536, 256, 1}}, int64[1] p_most = {{{most}}},
  int64[1] p_8 = {{8}}, int64[1] p_nowhere = {{1}}, int64[2] p_one_three = {{1, 3}},
  int64[2] p_size = {{{size}}}, int64[2] p_crop = {{{crop}}}, int64[2] p_axes = {{2, 3}}, bool p_go = {{1}}
>
{{
  p_rows = Shape <start = 0, end = 1> (image)
  p_count = Squeeze (p_rows)
  pixel_values = Loop <body = picture (int64 p_row, bool p_before) => (bool p_after, float[3, {height}, {width}] p_done)
  {{
    p_after = Identity (p_before)
    p_file = Gather (image, p_row)
    {check}
    p_whole = Slice (p_file, p_start, p_end)
    p_blue_first = {domain}.DecodeImage (p_whole)
    p_red_first = Slice (p_blue_first, p_minus_one, p_minus_end, p_two, p_minus_one)
    p_channels = Transpose <perm = [2, 0, 1]> (p_red_first)
    p_decoded = Unsqueeze (p_channels, p_zero)
    {resize}
    p_float = Cast <to = 11> (p_resized)
    p_rescaled = Mul (p_float, p_scale)
    p_single = Cast <to = 1> (p_rescaled)
    p_centred = Sub (p_single, p_mean)
    p_normalised = Div (p_centred, p_deviation)
    p_done = Squeeze (p_normalised, p_zero)
  }}> (p_count, p_go)
}}
"""

_CHECK = """
    p_beginning = Slice (p_file, p_zero, p_25)
    p_at_least = Concat <axis = 0> (p_beginning, p_nothing)
    p_start_of_file = Slice (p_at_least, p_zero, p_16)
    p_first_bytes = Cast <to = 7> (p_start_of_file)
    p_as_png = Equal (p_first_bytes, p_head)
    p_as_png_number = Cast <to = 7> (p_as_png)
    p_is_png = ReduceMin <keepdims = 0> (p_as_png_number)
    p_width_bytes = Slice (p_at_least, p_16, p_20)
    p_width_numbers = Cast <to = 7> (p_width_bytes)
    p_width = MatMul (p_width_numbers, p_places)
    p_height_bytes = Slice (p_at_least, p_20, p_24)
    p_height_numbers = Cast <to = 7> (p_height_bytes)
    p_height = MatMul (p_height_numbers, p_places)
    p_has = Mul (p_width, p_height)
    p_small = LessOrEqual (p_has, p_most)
    p_depth_byte = Slice (p_at_least, p_24, p_25)
    p_depth = Cast <to = 7> (p_depth_byte)
    p_shallow = LessOrEqual (p_depth, p_8)
    p_fits = And (p_small, p_shallow)
    p_png = Cast <to = 9> (p_is_png)
    p_good = And (p_png, p_fits)
    p_index = Where (p_good, p_zero, p_nowhere)
    p_start = Gather (p_zero, p_index)
"""
_FIXED = "p_sizes = Concat <axis = 0> (p_one_three, p_size)"
_SHORTEST = """
    p_shape = Shape <start = 2, end = 4> (p_decoded)
    p_short = ReduceMin <keepdims = 1> (p_shape)
    p_times = Mul (p_shape, p_size)
    p_sides = Div (p_times, p_short)
    p_sizes = Concat <axis = 0> (p_one_three, p_sides)
"""
_RESIZE = """
    p_whole_picture = Resize <mode = "{filter}", antialias = 1, exclude_outside = 1, cubic_coeff_a = -0.5> (
      p_decoded, , , p_sizes)
"""
_CROP = """
    p_resized_shape = Shape <start = 2, end = 4> (p_whole_picture)
    p_margin = Sub (p_resized_shape, p_crop)
    p_top_left = Div (p_margin, p_two)
    p_bottom_right = Add (p_top_left, p_crop)
    p_resized = Slice (p_whole_picture, p_top_left, p_bottom_right, p_axes)
"""
REFUSED = "picture is no PNG of at most 8 bits a channel and 64 megapixels"
"""Name of the node that fails on such a file: ONNX Runtime's message has it."""


def picture_graph(steps: Steps, opset: int, ir_version: int) -> onnx.ModelProto:
    """A model from `image` uint8 [batch, bytes], PNG files that are filled up with zeros to one length, to
    `pixel_values` float32 [batch, 3, height, width].

    Raises:
        ConchError: onnxruntime-extensions is missing, or the opset has no such Resize.
    """
    if installed_library() is None:
        raise ConchError("--with-image-processor needs onnxruntime-extensions: pip install 'conch[cpu,pretrained]'")
    if opset < OLDEST_OPSET:
        raise ConchError(
            f"--with-image-processor: opset {opset} resizes without antialias, from {OLDEST_OPSET} on it can"
        )
    height, width = steps.height_and_width
    size = steps.size if isinstance(steps.size, tuple) else (steps.size,)
    resize = (_FIXED if isinstance(steps.size, tuple) else _SHORTEST) + _RESIZE.format(filter=steps.filter)
    resize += _CROP if steps.crop else "p_resized = Identity (p_whole_picture)"
    text = _GRAPH.format(
        ir_version=ir_version, opset=opset, domain=PICTURE_DOMAIN, height=height, width=width, head=_HEAD,
        most=MOST_PIXELS, size=", ".join(map(str, (*size, *size)[:2])), crop=f"{height}, {width}",
        check=_CHECK, resize=resize,
    )  # fmt: skip
    model = parser.parse_model(text)
    model.producer_name = "conch"
    model.graph.initializer.extend(
        (
            helper.make_tensor("p_nothing", onnx.TensorProto.UINT8, [25], bytes(25), raw=True),
            helper.make_tensor("p_minus_one", onnx.TensorProto.INT64, [1], [-1]),
            helper.make_tensor("p_minus_end", onnx.TensorProto.INT64, [1], [-4]),
            helper.make_tensor("p_scale", onnx.TensorProto.DOUBLE, [], [steps.scale]),
            _per_channel("p_mean", steps.mean),
            _per_channel("p_deviation", steps.deviation),
        )
    )
    body = next(node.attribute[0].g for node in model.graph.node if node.op_type == "Loop")
    next(node for node in body.node if node.output[0] == "p_start").name = REFUSED
    return model


def _per_channel(name: str, values: tuple[float, float, float]) -> onnx.TensorProto:
    array = np.array(values, np.float32).reshape(1, 3, 1, 1)
    return numpy_helper.from_array(array, name)


def with_pictures(pictures: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """Both as one model: `image` in, the model's answers out."""
    merged = onnx.compose.merge_models(pictures, model, [(PIXELS, PIXELS)], name=model.graph.name)
    merged.producer_name = "conch"
    return merged
