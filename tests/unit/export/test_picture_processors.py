"""Image processors as graphs: the Python processor's pixels on photographs, and nothing but PNG to the decoder."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image, PngImagePlugin

from clients.pictures import as_png, encoded_tensor
from clients.signature import Metadata, TensorSpec
from conch.contracts.errors import ConchError
from export.pretrained.offline import load_transformers
from export.pretrained.picture_graph import PICTURE, PIXELS, REFUSED, picture_graph
from export.pretrained.picture_proof import PictureProof, png_of, prove_pictures
from export.pretrained.picture_steps import steps_of
from export.pretrained.pictures import photographs
from export.proof.runtime import onnx_predict

pytestmark = pytest.mark.slow
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "height and width": ("ViTImageProcessorPil", {"size": {"height": 60, "width": 96}}),
    "shortest edge and crop": ("CLIPImageProcessorPil", {"size": {"shortest_edge": 80}, "crop_size": 72}),
    "crop of a fixed size": ("DeiTImageProcessorPil", {"size": {"height": 65, "width": 64}, "crop_size": 56}),
    "ConvNext, cropped": ("ConvNextImageProcessorPil", {"size": {"shortest_edge": 75}}),
    "ConvNext, stretched": ("ConvNextImageProcessorPil", {"size": {"shortest_edge": 384}}),
    "steps of its own": ("SegformerImageProcessorPil", {"size": {"height": 96, "width": 64}}),
    "not normalised": ("BitImageProcessorPil", {"size": {"shortest_edge": 64}, "crop_size": 64, "do_normalize": False}),
    "not rescaled": ("ViTImageProcessorPil", {"size": {"height": 32, "width": 32}, "do_rescale": False}),
}
REFUSALS: dict[str, tuple[str, dict[str, Any]]] = {
    "has a rescale of its own": ("EfficientNetImageProcessorPil", {}),
    "has a resize of its own": ("GLPNImageProcessorPil", {}),
    "has the step do_flip_channel_order": ("MobileViTImageProcessorPil", {}),
    "resizes by Pillow's filter 1": ("SiglipImageProcessorPil", {"resample": 1}),
    "pictures of different shape different": ("CLIPImageProcessorPil", {"do_center_crop": False}),
    "fills up what is missing": ("CLIPImageProcessorPil", {"crop_size": 300}),
    "does not resize": ("ViTImageProcessorPil", {"do_resize": False}),
    "covered are height and width": ("ViTImageProcessorPil", {"size": {"shortest_edge": 32, "longest_edge": 64}}),
}


def processor(name: str, settings: dict[str, Any]) -> Any:
    return getattr(load_transformers(), name)(**settings)


Change = Callable[[onnx.GraphProto, onnx.GraphProto], None]
"""Of a graph and the body of its loop."""


def proven(made: Any, folder: Path, change: Change | None = None) -> PictureProof:
    """The proof of a processor's graph, of which `change` makes another."""
    steps = steps_of(made)
    model = picture_graph(steps, 18, 10)
    body = next(node.attribute[0].g for node in model.graph.node if node.op_type == "Loop")
    if change:
        change(model.graph, body)
    onnx.save(model, folder / "pictures.onnx")
    return prove_pictures(folder / "pictures.onnx", steps, made, photographs()[::5])


@pytest.mark.parametrize("kind", PROCESSORS)
def test_a_graph_gives_the_pixels_of_the_python_processor(kind: str, tmp_path: Path) -> None:
    proof = proven(processor(*PROCESSORS[kind]), tmp_path)
    assert proof.passed, proof
    assert proof.files > 12
    assert proof.off_by_one < 0.05


def _resize(**attributes: float) -> Change:
    def change(_: onnx.GraphProto, body: onnx.GraphProto) -> None:
        (resize,) = (node for node in body.node if node.op_type == "Resize")
        for attribute in resize.attribute:
            if attribute.name in attributes:
                attribute.CopyFrom(onnx.helper.make_attribute(attribute.name, attributes[attribute.name]))

    return change


def _constant(name: str, values: list[int]) -> Change:
    def change(graph: onnx.GraphProto, _: onnx.GraphProto) -> None:
        (found,) = (tensor for tensor in graph.initializer if tensor.name == name)
        found.CopyFrom(onnx.numpy_helper.from_array(np.array(values), name))

    return change


def _blue_first(_: onnx.GraphProto, body: onnx.GraphProto) -> None:
    (decoded,) = (node for node in body.node if node.op_type == "DecodeImage")
    decoded.output[0] = "p_red_first"
    body.node.remove(next(node for node in body.node if "p_blue_first" in node.input))


@pytest.mark.parametrize(
    ("change", "resample"),
    [
        pytest.param(_resize(antialias=0, exclude_outside=0), 2, id="no antialias"),
        pytest.param(_resize(exclude_outside=0), 2, id="edges repeated"),
        pytest.param(_resize(exclude_outside=0), 3, id="edges repeated, cubic"),
        pytest.param(_resize(cubic_coeff_a=-0.75), 3, id="another cubic"),
        pytest.param(_blue_first, 3, id="blue first"),
        pytest.param(_constant("p_size", [82, 82]), 3, id="another size"),
    ],
)
def test_a_graph_that_does_otherwise_is_found(change: Change, resample: int, tmp_path: Path) -> None:
    settings = {"size": {"shortest_edge": 80}, "crop_size": 79, "resample": resample}
    proof = proven(processor("CLIPImageProcessorPil", settings), tmp_path, change)
    assert not proof.passed, proof


@pytest.mark.parametrize("reason", REFUSALS)
def test_what_the_graph_cannot_do_is_refused_with_its_reason(reason: str) -> None:
    with pytest.raises(ConchError, match=reason):
        steps_of(processor(*REFUSALS[reason]))


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    photographs()[0].save(buffer, "JPEG")
    return buffer.getvalue()


def _png(depth: int = 8, width: int = 4, length: int = 1000) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, width, depth, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(length))) + chunk(b"IEND", b"")


def test_nothing_but_a_small_png_of_8_bits_reaches_the_decoder(tmp_path: Path) -> None:
    """It ends the process on a broken JPEG: this test would not come back."""
    made = processor(*PROCESSORS["height and width"])
    onnx.save(picture_graph(steps_of(made), 18, 10), tmp_path / "pictures.onnx")
    predict = onnx_predict(tmp_path / "pictures.onnx")

    def run(data: bytes) -> np.ndarray:
        return predict({PICTURE: np.frombuffer(data, np.uint8)[np.newaxis]})[PIXELS]

    assert run(_png()).shape == (1, 3, 60, 96)
    for data in (b"", b"hello", b"\xff\xd8\xff" * 30, _jpeg(), _jpeg()[:300], _png(depth=16), _png(width=60_000)):
        with pytest.raises(Exception, match=REFUSED):
            run(data)
    for data in (_png()[:60], _png()[:33], _png(length=3), png_of(photographs()[0]).tobytes()[:5000]):
        with pytest.raises(Exception, match="png creation"):
            run(data)


def test_gamma_and_transparency_of_a_file_change_nothing(tmp_path: Path) -> None:
    """As they change nothing in Pillow's own conversion to RGB."""
    made = processor(*PROCESSORS["height and width"])
    onnx.save(picture_graph(steps_of(made), 18, 10), tmp_path / "pictures.onnx")
    predict = onnx_predict(tmp_path / "pictures.onnx")
    extra, buffer, picture = PngImagePlugin.PngInfo(), io.BytesIO(), photographs()[4]
    extra.add(b"gAMA", struct.pack(">I", 220_000))
    picture.save(buffer, "PNG", pnginfo=extra)
    paletted = io.BytesIO()
    picture.quantize(32).save(paletted, "PNG", transparency=3)
    for data, want in ((buffer, picture), (paletted, Image.open(paletted).convert("RGB"))):
        got = predict({PICTURE: np.frombuffer(data.getvalue(), np.uint8)[np.newaxis]})[PIXELS][0]
        assert np.abs(got - made(want, return_tensors="np")["pixel_values"][0]).max() <= 1.01 * 2 / 255


def test_a_client_sends_any_picture_as_png() -> None:
    spec = TensorSpec("image", "UINT8", (-1, -1), batched=True)
    takes = Metadata("m", ("1",), "", (spec,), (), 8, parameters={"input_encoding": "png"})
    assert encoded_tensor(takes) is spec
    deep = Image.fromarray((np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8))
    for picture in (photographs()[1], photographs()[1].convert("CMYK"), deep):
        sent = Image.open(io.BytesIO(as_png(picture)[0].tobytes()))
        assert (sent.format, sent.mode, sent.size) == ("PNG", "RGB", picture.size)
