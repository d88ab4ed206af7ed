"""What the page makes of strokes, answers and calls, without a browser."""

import asyncio
import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from clients.address import resolve
from clients.errors import ClientError, UnreadableInput, WrongTensor
from clients.signature import Metadata, TensorSpec
from conch.page.__main__ import main
from conch.page.arrays import read_array
from conch.page.prepared import SCALES, likely_scale, picture_tensor, shown_pixels, uploaded
from conch.page.showing import Context, answer_html, difference_html, usual_numbers
from conch.page.site import Site
from conch.page.snippets import Where, snippets
from conch.page.strokes import MNIST, PAPER, Ink, drawn, ink_of
from conch.page.tensors import PictureForm, input_kind, is_latent, picture_form, reads_characters


def model(
    *inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (), largest: int = 8, stateful: bool = False
) -> Metadata:
    return Metadata("m", ("1",), "", inputs, outputs, largest, stateful)


def spec(dtype: str, *shape: int, name: str = "x") -> TensorSpec:
    return TensorSpec(name, dtype, (-1, *shape), batched=True)


# ---- strokes


def measured(image: Image.Image) -> tuple[float, tuple[float, float]]:
    """Longer side of what is inked and its centre of mass, as shares."""
    pixels = np.asarray(image, float)
    rows, columns = np.nonzero(pixels > 127)
    y, x = (float((pixels.sum(axis=1 - axis) * (np.arange(28) + 0.5)).sum() / pixels.sum() / 28) for axis in (0, 1))
    return float(max(np.ptp(rows), np.ptp(columns))) + 1, (y, x)


@pytest.mark.parametrize("size", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("corner", [0.0, 0.05])
def test_strokes_are_as_large_and_where_those_of_the_data_are(size: float, corner: float) -> None:
    seven = np.array([[0, 0], [0.6, 0], [0.2, 1]]) * size + corner
    side, centre = measured(drawn([seven], 28, 28, MNIST))
    assert side == pytest.approx(20, abs=1)
    assert centre == pytest.approx((0.5, 0.5), abs=0.02)


def test_what_is_measured_of_drawn_pictures_is_what_they_were_drawn_with() -> None:
    for ink in (Ink(), Ink(ground=250, ink=10, extent=0.5, thickness=0.15, centre=(0.6, 0.4))):
        draw = np.random.default_rng(0)
        pictures = np.stack([np.asarray(drawn([draw.random((6, 2))], 56, 56, ink))[..., None] for _ in range(12)])
        found = ink_of(pictures)
        assert (found.ground, found.ink) == pytest.approx((ink.ground, ink.ink), abs=12)
        assert found.extent == pytest.approx(ink.extent, abs=0.06)
        assert found.thickness == pytest.approx(ink.thickness, rel=0.4)
        assert found.centre == pytest.approx(ink.centre, abs=0.04)


def test_photographs_are_no_strokes_and_a_dot_is_a_dot() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8)
    assert ink_of(noise) == PAPER
    side, _ = measured(drawn([np.array([[0.3, 0.3]])], 28, 28, MNIST))
    assert side < 5
    line = np.asarray(drawn([np.array([[0.0, 0.5], [0.25, 0.5]])], 40, 80, PAPER))
    assert line.shape == (40, 80)
    assert line[20, 5] < 50 < 200 < line[20, 60]


# ---- tensors


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [
        (spec("UINT8", 28, 28, 1), "picture"), (spec("FP32", 3, 224, 224), "picture"),
        (spec("FP32", 1, 3, -1, -1), "picture"), (spec("FP32", 3, 2, 2), "sliders"), (spec("FP32", 30), "sliders"),
        (spec("INT64", 1), "sliders"), (spec("BOOL", 2), "sliders"), (TensorSpec("x", "FP32", ()), "sliders"),
        (spec("FP32", 40), "array"), (spec("FP32", -1), "array"), (spec("FP16", 3), "array"),
        (spec("BYTES", 3), "array"), (spec("BYTES", 1), "text"), (spec("BYTES", -1), "text"),
    ],
)  # fmt: skip
def test_an_input_is_asked_for_by_what_it_looks_like(tensor: TensorSpec, kind: str) -> None:
    assert input_kind(tensor) == kind


def test_layouts_go_there_and_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 5, 3), np.uint8)
    for form in (PictureForm("HWC", 6, 5, 3), PictureForm("CHW", 6, 5, 3), PictureForm("CHW", 6, 5, 3, leading=1)):
        assert np.array_equal(form.pixels(form.tensor(pixels)), pixels)
    assert picture_form(spec("UINT8", 2, 28, 1)) is None


def test_generators_and_models_of_characters_are_told_by_their_tensors() -> None:
    picture = (spec("UINT8", 16, 16, 1),)
    assert is_latent(model(spec("FP32", 8), outputs=picture))
    assert not is_latent(model(spec("FP32", 8), spec("FP32", 2), outputs=picture))
    assert reads_characters(model(spec("INT64", -1), outputs=(spec("FP32", -1, 30),)))
    assert reads_characters(model(spec("INT64", 1), outputs=(spec("FP32", 30),), stateful=True))
    assert not reads_characters(model(spec("INT64", -1), outputs=(spec("FP32", 30),)))


# ---- pictures


@pytest.mark.parametrize("scale", SCALES)
def test_pixels_become_the_numbers_that_were_chosen_and_are_shown_again(scale: str) -> None:
    image = Image.fromarray(np.arange(0, 192, dtype=np.uint8).reshape(8, 8, 3))
    tensor, seen = picture_tensor(image, spec("FP32", 3, 8, 8), None, scale)
    assert tensor.dtype == np.float32
    assert tensor.shape == (3, 8, 8)
    assert likely_scale(tensor[None]) == scale
    form = picture_form(spec("FP32", 3, 8, 8))
    assert form is not None
    if scale != SCALES[3]:  # of which nobody knows the colours
        assert np.abs(shown_pixels(tensor, form).astype(int) - seen).max() <= 1


def test_a_huge_or_broken_picture_is_one_line() -> None:
    file = io.BytesIO()
    Image.new("1", (9000, 9000)).save(file, "PNG")
    with pytest.raises(UnreadableInput, match=r"^cannot read large.png: Image size .* exceeds limit"):
        uploaded(file.getvalue(), "large.png")
    with pytest.raises(UnreadableInput, match=r"^no\.png is no image"):
        uploaded(b"no", "no.png")


def test_a_side_that_is_free_has_an_end() -> None:
    tensor, _ = picture_tensor(Image.new("RGB", (4000, 2000)), spec("UINT8", -1, -1, 3), None, SCALES[0])
    assert tensor.shape == (256, 512, 3)


def test_an_array_of_a_file_fits_or_says_what_fits() -> None:
    def file(array: np.ndarray) -> bytes:
        content = io.BytesIO()
        np.save(content, array)
        return content.getvalue()

    wanted = spec("FP32", 3)
    for given in (np.ones(3, np.float32), np.ones((1, 3), np.float32)):
        assert read_array(file(given), "a.npy", wanted).shape == (3,)
    assert read_array(b"[1, 2, 3]", "a.json", wanted).dtype == np.float32
    assert read_array(b"one\ntwo", "a.txt", spec("BYTES", -1, 1)).tolist() == [[b"one"], [b"two"]]
    with pytest.raises(WrongTensor, match=r"a\.npy: input 'x' got FP32 \[2, 3\], allowed is FP32 \[batch, 3\]"):
        read_array(file(np.ones((2, 3), np.float32)), "a.npy", wanted)
    with pytest.raises(UnreadableInput, match=r"^a\.npy is no \.npy file and no JSON list"):
        read_array(b"\x00", "a.npy", wanted)


# ---- answers


def test_whatever_a_model_gives_is_shown_and_nothing_of_it_is_html() -> None:
    said = {
        "text": np.array([b"<script>alert(1)</script>"], object),
        "nothing": np.zeros((0, 4), np.float32),
        "infinite": np.array([np.nan, np.inf, -np.inf], np.float32),
        "high": np.zeros((2, 3, 4, 5), np.float32),
        "flags": np.array([True, False]),
        "<b>": np.array([1, 2, 3], np.int64),
        "complex": np.array([0.2, 0.8], np.float32),
    }
    outputs = tuple(TensorSpec(name, "FP32", (-1, *array.shape), batched=True) for name, array in said.items())
    html = answer_html(said, Context(model(outputs=outputs), {"complex": ["<i>cat</i>", "dog"]}))
    assert "<script>" not in html
    assert "<i>" not in html
    assert "<b>" not in html
    assert html.index("dog") < html.index("&lt;i&gt;cat")
    assert "80.00 %" in html
    assert "nothing: [0, 4]" in html
    assert "nan" in html
    code = {"code": np.array([0.6588, 0.3457], np.float32)}  # that adds up to nearly 1, and means no share
    assert " %" not in answer_html(code, Context(model(outputs=(spec("FP32", 2, name="code"),))))


def test_boxes_are_drawn_in_pixels_whatever_they_are_said_in() -> None:
    seen = np.zeros((20, 40, 3), np.uint8)
    outputs = (spec("FP32", 2, 4, name="boxes"), spec("FP32", 2, name="scores"), spec("INT64", 2, name="labels"))
    for boxes in ([[4, 5, 14, 15]] * 2, [[0.1, 0.25, 0.35, 0.75]] * 2, [[4, 5, 10, 10], [4, 5, 1, 2]]):
        said = {
            "boxes": np.array(boxes, np.float32),
            "scores": np.array([0.9, 0.1], np.float32),
            "labels": np.array([1, 0]),
        }
        html = answer_html(said, Context(model(outputs=outputs), {"labels": ["cat", "dog"]}, seen))
        found = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', html)
        assert [[float(side) for side in box] for box in found] == [[4, 5, 10, 10]]
        assert "dog" in html
        assert "cat" not in html


def test_masks_lie_over_the_picture_in_every_layout() -> None:
    seen = np.full((8, 10, 3), 100, np.uint8)
    classes = np.zeros((8, 10), np.int64)
    classes[2:6] = 1
    scores = np.stack([1 - classes, classes, classes * 0, classes * 0]).astype(np.float32)
    for array in (classes, classes[None], scores, np.moveaxis(scores, 0, -1), classes.astype(bool)):
        output = TensorSpec("mask", "INT64", (-1, *array.shape), batched=True)
        html = answer_html({"mask": array}, Context(model(outputs=(output,)), {}, seen))
        assert "50.00 %" in html, array.shape
        pictures = [Image.open(io.BytesIO(base64.b64decode(one))) for one in re.findall(r"base64,([\w+/=]+)", html)]
        assert np.asarray(pictures[-1])[0, 0].tolist() == [100, 100, 100]
        assert np.asarray(pictures[-1])[3, 0].tolist() != [100, 100, 100]


def test_two_answers_differ_in_what_is_said() -> None:
    outputs = (spec("FP32", 3, name="y"), spec("BYTES", 1, name="t"), spec("UINT8", 4, 4, 1, name="p"))
    first = {"y": np.zeros(3, np.float32), "t": np.array([b"a"], object), "p": np.zeros((4, 4, 1), np.uint8)}
    second = {"y": np.array([0, 0.5, 0], np.float32), "t": np.array([b"b"], object), "p": np.ones((4, 4, 1), np.uint8)}
    html = difference_html(first, second, model(outputs=outputs))
    assert "0.5" in html
    assert "2 of 3" in html
    assert "not the same" in html
    assert html.count("<img") == 1
    assert difference_html(first, first, model(outputs=outputs)).count("not the same") == 0


def test_what_is_usual_is_said_of_one_number_an_item() -> None:
    golden: dict[str, np.ndarray] = {"error": np.array([[0.5], [0.1]], np.float32), "image": np.zeros((2, 3))}
    outputs = (spec("FP32", 1, name="error"), spec("FP32", 3, name="image"))
    assert usual_numbers(golden, model(outputs=outputs)) == {"error": (pytest.approx(0.1), 0.5)}


# ---- code; tests/live/test_page.py runs it


def test_code_names_files_of_tls_and_never_a_token() -> None:
    where = Where(resolve("https://far:8443"), "ca.pem", "me.pem", "me.key", token=True)
    made = snippets(where, model(spec("FP32", 2)), "3", {"x": np.array([0.1, np.nan], np.float32)})
    curl = made.code["curl"]
    assert "--cacert 'ca.pem'" in curl
    assert '-H "Authorization: Bearer $CONCH_TOKEN"' in curl
    assert "https://far:8443/v2/models/m/versions/3/infer" in curl
    assert "@request.bin" in curl  # JSON has no NaN
    for way in ("Conch's client", "asyncio", "tritonclient"):
        compile(made.code[way], way, "exec")
        assert "ca.pem" in made.code[way]
        assert "[0.1, np.nan]" in made.code[way]
    assert "os.environ['CONCH_TOKEN']" in made.code["tritonclient"]
    assert made.files["request.bin"].endswith(np.array([0.1, np.nan], np.float32).tobytes())


def test_code_over_grpc_has_no_curl() -> None:
    made = snippets(Where(resolve("grpc://here:8001")), model(spec("BYTES", 1)), "", {"x": np.array([b"it's"], object)})
    assert set(made.code) == {"Conch's client", "asyncio", "tritonclient"}
    assert "tritonclient.grpc" in made.code["tritonclient"]
    assert """["it's"]""" in made.code["tritonclient"]


# ---- what goes wrong


async def wrong() -> None:
    def call() -> None:
        raise ValueError("two\nlines")

    with pytest.raises(ClientError, match=r"^the page cannot show this \(ValueError: two lines\); its log has more$"):
        await Site.wait(call)


def test_a_fault_of_the_page_itself_is_one_line_too() -> None:
    asyncio.run(wrong())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--port", "70000"], "--port 70000: allowed are 0 to 65535"),
        (["--repository", "/nowhere"], "--repository /nowhere: no such folder"),
        (["--host", "203.0.113.9", "--port", "0"], "--host 203.0.113.9 --port 0: .*; --port 0 takes a free one"),
        (["--url", "nothing"], "expected host:port"),
    ],
)
def test_words_that_make_no_command_are_one_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert re.search(says, shown)
    assert shown.count("\n") == 1
