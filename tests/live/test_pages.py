"""The commands of docs/clients.md and docs/releasing.md do what they say: run as written, in their order."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

from serving.server.server import Server
from tests.support.page_commands import bash, blocks, serving

ROOT = Path(__file__).parents[2]
CLIENTS = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
RELEASING = (ROOT / "docs" / "releasing.md").read_text(encoding="utf-8")
# A checkpoint of full size, and what a promise takes at its own rate, show no more here.
SMALLER = {
    "conch train cnn": "conch train cnn --epochs 1 --no-floors",
    "conch load run cnn": "conch load run cnn --rate 100 --duration 5s",
}
# Installing, and the server of the clients, which these tests have already or do without.
LEFT_OUT = re.compile(r"pip install .*|conch down|conch serve")


def script(block: str) -> str:
    """A block of commands without those that are left out, at small size."""
    lines = [line for line in block.splitlines() if not LEFT_OUT.fullmatch(line.split("  #")[0].strip())]
    text = "\n".join(lines)
    for full, small in SMALLER.items():
        text = text.replace(full, small)
    return text


def with_inputs(folder: Path, cnn: Path) -> Path:
    """The folder, with a picture of a digit and its pixels in it."""
    with np.load(cnn / "1" / "golden.npz") as golden:
        pixels = golden["inputs/image"][:1]
    Image.fromarray(pixels[0, :, :, 0]).save(folder / "digit.png")
    np.save(folder / "image.npy", pixels)
    return folder


@pytest.fixture(scope="module")
def workshop(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one who calls models: something to send, and the page's scripts."""
    folder = with_inputs(tmp_path_factory.mktemp("clients"), trained / "models" / "cnn")
    for block in blocks(CLIENTS, "python"):
        if named := re.match(r"# (\S+\.py)\n", block):
            (folder / named[1]).write_text(block)
    (folder / "pictures").mkdir()
    for number in range(3):
        shutil.copy(folder / "digit.png", folder / "pictures" / f"{number}.png")
    return folder


@pytest.fixture
def addresses(triton: Server) -> dict[str, str]:
    """Where the commands find the server."""
    return {"CONCH_HTTP": triton.http, "CONCH_GRPC": triton.grpc, "CONCH_METRICS": triton.metrics}


def test_commands_of_the_clients_page(workshop: Path, addresses: dict[str, str]) -> None:
    said = []
    for block in blocks(CLIENTS, "sh"):
        # The test below, test_client_security.py and test_networks.py run these.
        if any(word in block for word in ("uvicorn", "secure.py", "two.py", "conch call translate")):
            continue
        here = script(block).replace("localhost:8000", addresses["CONCH_HTTP"])
        said.append(bash(here.replace("localhost:8002", addresses["CONCH_METRICS"]), workshop, addresses))
    whole = "\n".join(said)
    assert whole.count("64 answers of shape (10,)") == 2, "threads over HTTP and tasks over gRPC"
    assert "640 items by class: [" in whole, "a stream"
    assert "512 answers through shared memory" in whole
    assert re.search(r"^0\.\d{3} \d$", whole, re.MULTILINE), "a class by the script"
    assert "32 classes from two workers" in whole
    assert re.search(r"^class \d$", whole, re.MULTILINE), "by tritonclient alone"
    assert re.search(r"the likeliest next of \d+ characters: \d+", whole)
    assert [line.split(",")[0] for line in (workshop / "labels.csv").read_text().split()] == ["0.png", "1.png", "2.png"]
    assert whole.count("200\n") == 2, "ready, by curl"
    assert re.search(r'nv_inference_request_success\{.*"cnn"', whole)
    assert re.search(r'"data":\["0\.\d+:(\d):\1"', whole), "classes by curl"
    assert '{"error"' not in whole


def test_the_script_says_what_is_wrong_in_one_line(workshop: Path, addresses: dict[str, str]) -> None:
    said = bash("python classify.py nothing.png || true", workshop, addresses)
    assert said == "error: no such file: nothing.png\n"


def test_the_fastapi_service(workshop: Path, addresses: dict[str, str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    service = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "service:app", "--port", url.rpartition(":")[2]],
        cwd=workshop,
        env=os.environ | addresses,
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert service.poll() is None, "uvicorn ended"
            try:
                assert urlopen(f"{url}/health").read() == b'{"ready":true}'
                break
            except URLError:
                time.sleep(0.2)
        picture = (workshop / "digit.png").read_bytes()
        answer = urlopen(Request(f"{url}/classify", picture, {"Content-Type": "image/png"})).read().decode()
        assert re.fullmatch(r'\{("\d":[\d.e-]+,?){3}\}', answer)
    finally:
        service.terminate()
        service.wait(30)


@pytest.fixture
def released(trained: Path, tmp_path: Path) -> Path:
    """A folder of one who releases: `cnn` with its checkpoint and a first version of it."""
    for kind in ("checkpoints", "models"):
        shutil.copytree(trained / kind / "cnn", tmp_path / "artifacts" / kind / "cnn")
    return with_inputs(tmp_path, trained / "models" / "cnn")


def versions(folder: Path) -> list[str]:
    models = folder / "artifacts" / "models" / "cnn"
    return sorted(entry.name for entry in models.iterdir() if entry.name.isdigit())


@pytest.mark.timing
def test_a_release_and_its_return_as_the_page_has_them(released: Path) -> None:
    _, release, _, _, _, calls, back = blocks(RELEASING, "sh")
    with serving(released) as addresses:
        said = bash(script(release), released, addresses)  # ends with conch report: every proof of the version holds
        assert "version 2 is live instead of 1" in said
        assert "another seed" in said
        assert "KEPT" in said
        assert "not run" not in said
        assert "probabilities" in bash(script(calls), released, addresses)
        said = bash(script(back), released, addresses)
        assert "version 1 is live; 2 is published" in said
        assert "wrong on scans" in said
    assert versions(released) == ["1", "2"]
