"""Every command of the clients against a real server, over both protocols; and bad input, which leaves it standing."""

import io
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clients import Refused, UnknownModel, WrongTensor, connect
from clients.__main__ import main
from clients.pictures import GAP
from clients.text import CharacterModel
from serving.server.server import Server

Golden = dict[str, np.ndarray]


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest, triton: Server) -> str:
    """The server's address, once for each protocol."""
    return f"{request.param}://{getattr(triton, request.param)}"


def golden(artifacts: Path, model: str) -> Golden:
    """What export left: inputs/... and outputs/..., the first axis is the item."""
    with np.load(artifacts / "models" / model / "1" / "golden.npz") as file:
        return dict(file)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that succeeds prints."""
    code = main(arguments)
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert captured.err == ""
    return captured.out


def refused(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    """The one line on stderr of a command that fails with this code."""
    ended = main(arguments)
    captured = capsys.readouterr()
    assert (ended, captured.out) == (code, "")
    assert re.fullmatch(r"error: [^\n]+\n", captured.err), captured.err
    return captured.err


@pytest.fixture
def digit(artifacts: Path, tmp_path: Path) -> str:
    """The first golden picture of the cnn, as a file."""
    Image.fromarray(golden(artifacts, "cnn")["inputs/image"][0, :, :, 0]).save(tmp_path / "digit.png")
    return str(tmp_path / "digit.png")


def test_status_lists_models_with_their_tensors(capsys: pytest.CaptureFixture[str], url: str) -> None:
    text = said(capsys, "status", "--url", url)
    assert "triton 2" in text
    for word in ("cnn", "resnet", "lstm", "autoencoder", "gan", "READY", "latent FP32", "tokens INT64"):
        assert word in text


def test_classify_says_the_golden_label(
    capsys: pytest.CaptureFixture[str], url: str, artifacts: Path, digit: str
) -> None:
    probabilities = golden(artifacts, "cnn")["outputs/probabilities"][0]
    text = said(capsys, "classify", digit, "--model", "cnn", "--top", "3", "--url", url)
    rows = re.findall(r"^(\S+) +(0\.\d{4}|1\.0000)$", text, re.MULTILINE)
    best = np.argsort(-probabilities)[:3]
    assert [label for label, _ in rows] == [str(label) for label in best]
    np.testing.assert_allclose([float(value) for _, value in rows], probabilities[best], atol=2e-4)


def test_denoise_writes_the_golden_picture_and_says_the_error(
    capsys: pytest.CaptureFixture[str], url: str, artifacts: Path, tmp_path: Path
) -> None:
    arrays = golden(artifacts, "autoencoder")
    Image.fromarray(arrays["inputs/image"][0, :, :, 0]).save(tmp_path / "noisy.png")
    text = said(capsys, "denoise", str(tmp_path / "noisy.png"), "--out", str(tmp_path / "clean.png"), "--url", url)
    clean = np.asarray(Image.open(tmp_path / "clean.png")).astype(int)
    assert np.abs(clean - arrays["outputs/denoised"][0, :, :, 0]).max() <= 1
    (error,) = re.findall(r"^error (\S+)$", text, re.MULTILINE)
    assert float(error) == pytest.approx(arrays["outputs/error"][0].item(), rel=1e-3)


def test_generate_is_repeatable_and_larger_than_a_batch(
    capsys: pytest.CaptureFixture[str], url: str, tmp_path: Path
) -> None:
    with connect(url) as client:
        count = client.metadata("gan").max_batch_size * 2 + 3
    for name, seed in (("one.png", "7"), ("again.png", "7"), ("other.png", "8")):
        text = said(
            capsys, "generate", "--count", str(count), "--seed", seed, "--out", str(tmp_path / name), "--url", url
        )
        assert f"wrote {count} pictures" in text
    one, again, other = (np.asarray(Image.open(tmp_path / name)) for name in ("one.png", "again.png", "other.png"))
    columns = int(np.ceil(np.sqrt(count)))
    assert one.shape[1] == columns * (28 + GAP) - GAP
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_complete_continues_a_text_repeatably(
    capsys: pytest.CaptureFixture[str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["complete", "The ", "--length", "20", "--seed", "3", "--temperature", "0.7", "--url", url]
    text = said(capsys, *command)
    assert text.startswith("The ")
    assert text == said(capsys, *command)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"The \n")))
    assert text == said(capsys, command[0], "-", *command[2:])
    probabilities = [float(value) for value in re.findall(r"['\"]  +(0\.\d{4}|1\.0000)$", text, re.MULTILINE)]
    assert len(probabilities) == 5
    assert probabilities == sorted(probabilities, reverse=True)


def test_vocabulary_and_probabilities_are_the_servers(url: str) -> None:
    with connect(url) as client:
        model = CharacterModel(client, "lstm")
        assert len(set(model.vocabulary)) == len(model.vocabulary)
        assert {"\n", " ", "e"} <= set(model.vocabulary)
        assert model.next_probabilities(model.encode("The ")).sum() == pytest.approx(1, abs=1e-3)


def test_infer_keeps_the_golden_output(
    capsys: pytest.CaptureFixture[str], url: str, artifacts: Path, tmp_path: Path
) -> None:
    arrays = golden(artifacts, "cnn")
    np.save(tmp_path / "image.npy", arrays["inputs/image"][:5])
    out = tmp_path / "answer.npy"
    command = ["infer", "cnn", "--input", f"image={tmp_path / 'image.npy'}", "--url", url]
    said(capsys, *command, "--output", f"probabilities={out}", "--version", "1")
    np.testing.assert_allclose(np.load(out), arrays["outputs/probabilities"][:5], rtol=1e-3, atol=1e-4)
    assert "[5, 10]" in said(capsys, *command)


def test_answer_beyond_four_mebibytes_arrives(url: str) -> None:
    with connect(url, timeout=120) as client:
        size = client.metadata("lstm").outputs[0].shape[2]
        length = (5 << 20) // (4 * size)
        answer = client.infer("lstm", {"tokens": np.zeros((1, length), dtype=np.int64)})
    assert answer["probabilities"].shape == (1, length, size)
    assert answer["probabilities"].nbytes > 4 << 20


def test_threads_with_a_client_each_get_their_own_answers(url: str, artifacts: Path) -> None:
    arrays = golden(artifacts, "cnn")
    wrong: list[str] = []

    def call(batch: int) -> None:
        try:
            with connect(url) as client:
                for start in range(8):
                    rows = slice(start, start + batch)
                    answer = client.infer("cnn", {"image": arrays["inputs/image"][rows]})["probabilities"]
                    np.testing.assert_allclose(answer, arrays["outputs/probabilities"][rows], rtol=1e-3, atol=1e-4)
        except Exception as error:
            wrong.append(f"batch {batch}: {error!r}")

    threads = [threading.Thread(target=call, args=(batch,)) for batch in (1, 2, 3, 5, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)


def test_bad_input_gets_a_line_and_the_server_stays(
    capsys: pytest.CaptureFixture[str], url: str, tmp_path: Path, digit: str
) -> None:
    np.save(tmp_path / "floats.npy", np.zeros((1, 28, 28, 1)))
    np.save(tmp_path / "flat.npy", np.zeros((28, 28), np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    infer = ["infer", "cnn", "--input"]
    cases = [
        (4, ["classify", digit, "--model", "vit"], r"no model 'vit'; it has: .*autoencoder, .*cnn"),
        (1, ["classify", str(tmp_path / "text.png")], "is no image"),
        (1, ["classify", digit, "--model", "gan"], "gan: needs one input UINT8"),
        (2, ["classify", digit, "--top", "0"], "allowed are 1 and more"),
        (1, ["denoise", digit, "--out", str(tmp_path / "none" / "out.png")], "no folder"),
        (1, ["complete", "The 海螺"], "lstm has never seen: '海', '螺'; its vocabulary is"),
        (1, ["complete", ""], "empty text"),
        (1, ["complete", "The ", "--model", "cnn"], r"cnn: needs one input INT64 \[batch, time\]"),
        (5, [*infer, f"image={tmp_path / 'floats.npy'}"], r"'image' got FP64 .* allowed is UINT8 \[batch, 28, 28, 1\]"),
        (5, [*infer, f"image={tmp_path / 'flat.npy'}"], r"'image' got UINT8 \[28, 28\], allowed"),
        (5, [*infer, f"picture={tmp_path / 'flat.npy'}"], "no input 'picture', allowed are: image"),
        (1, [*infer, f"image={digit}"], r"is no \.npy file"),
        (6, [*infer, f"image={tmp_path / 'flat.npy'}", "--version", "9"], "has no version '9'"),
    ]
    for code, arguments, words in cases:
        line = refused(capsys, code, *arguments, "--url", url)
        assert re.search(words, line), line
    with connect(url) as client:
        assert client.ready()
    assert "probability" in said(capsys, "classify", digit, "--url", url)


def test_what_only_the_server_can_refuse_is_refused_and_forgotten(url: str) -> None:
    """A token outside the vocabulary has the right type and shape, so it reaches the model."""
    with connect(url) as client:
        with pytest.raises(Refused):
            client.infer("lstm", {"tokens": np.array([[10**9]])})
        answer = client.infer("lstm", {"tokens": np.array([[0]])})
        assert answer["probabilities"].shape[:2] == (1, 1)


def test_library_raises_typed_errors(url: str) -> None:
    with connect(url) as client:
        with pytest.raises(UnknownModel) as unknown:
            client.metadata("vit")
        assert "cnn" in unknown.value.known
        with pytest.raises(WrongTensor):
            client.infer("cnn", {"image": np.zeros((1, 2), np.uint8)})
