"""Who is compared: how each is started, what it is sent, and how its answer is read."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import tritonclient.http

from serving.server import ports, processes
from serving.server.server import LOOPBACK, Server
from serving.server.tritonserver import find_libpython
from tests.bench.serving.wrk import BenchError, Call, InvalidRound

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv-bench" / "bin" / "python"
PEERS = "tests.bench.serving.peers"
STOP_SECONDS = 10.0
TOLERANCE = 1e-3
"""Of a probability: right is right, whatever batch the request was part of."""


@dataclass(frozen=True)
class Subject:
    """A published classifier, one of its inputs and the answer expected to it."""

    model: str
    folder: Path
    """In the model repository."""
    onnx_file: Path
    image: np.ndarray
    """[1, 28, 28, 1] uint8"""
    probabilities: np.ndarray
    """[classes] float32"""


@dataclass(frozen=True)
class Started:
    """A contender that was started; its models may still be loading."""

    address: str
    """host:port"""
    check_alive: Callable[[], None]
    """Raises InvalidRound or ServingError, with the reason, once it has ended by itself."""


@dataclass(frozen=True)
class Contender:
    """A way to serve all subjects."""

    name: str
    start: Callable[[list[Subject]], AbstractContextManager[Started]]
    """Serves within the block."""
    call: Callable[[str, Subject], Call]
    """From an address and a subject."""
    read: Callable[[bytes, Mapping[str, str]], np.ndarray]
    """The probabilities in an answer's body; with its headers, their names in lower case."""


def read_subjects(repository: Path, models: list[str]) -> list[Subject]:
    """Those of `models` that are published; BenchError where one other than an int8 variant is not."""
    from conch.contracts.versions import latest_version

    found = []
    for model in models:
        version = latest_version(repository, model)
        if version is None and model.endswith("_int8"):
            continue
        if version is None:
            raise BenchError(f"{model} is not published in {repository}: conch export {model}")
        with np.load(version / "golden.npz") as golden:
            image, probabilities = golden["inputs/image"][:1], golden["outputs/probabilities"][0]
        found.append(Subject(model, version.parent, version / "model.onnx", image, probabilities))
    return found


def check(contender: Contender, call: Call, subject: Subject) -> None:
    """Send `call` once; InvalidRound unless the status is 200 and the answer the right one."""
    request = urllib.request.Request(call.url, call.body, dict(call.headers), method="POST")
    where = f"{contender.name}, {subject.model}"
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            body, headers, status = answer.read(), answer.headers, answer.status
    except urllib.error.HTTPError as error:
        raise InvalidRound(f"{where}: status {error.code}: {error.read()[:200]!r}") from None
    except OSError as error:
        raise InvalidRound(f"{where}: no answer ({error})") from None
    try:
        got = contender.read(body, {name.lower(): value for name, value in headers.items()})
        right = status == 200 and np.allclose(got.reshape(-1), subject.probabilities, rtol=0, atol=TOLERANCE)
    except (ValueError, KeyError) as error:
        raise InvalidRound(f"{where}: an answer that cannot be read ({error}): {body[:200]!r}") from None
    if not right:
        raise InvalidRound(f"{where}: a wrong answer (status {status}): {got.reshape(-1)[:10]}")


def copy_models(subjects: list[Subject], folder: Path) -> None:
    """A model repository of these models as they are published, and nothing beside them."""
    for subject in subjects:
        shutil.copytree(subject.folder, folder / subject.model)


@contextlib.contextmanager
def _conch(subjects: list[Subject]) -> Iterator[Started]:
    with tempfile.TemporaryDirectory(prefix="conch-bench-") as folder:
        copy_models(subjects, Path(folder))
        with Server(Path(folder), http_port=0, grpc_port=0, metrics_port=0) as server:
            yield Started(server.http, server.check_alive)


@contextlib.contextmanager
def _peer(arguments: Callable[[dict[str, int]], list[str]], subjects: list[Subject]) -> Iterator[Started]:
    """A program of .venv-bench; it and all that it started are gone after the block."""
    if not PYTHON.exists():
        raise BenchError(f"there is no {PYTHON.relative_to(ROOT)}: make bench-serving makes it")
    found = ports.reserve(LOOPBACK, {"HTTP": 0, "gRPC": 0, "metrics": 0})
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="conch-bench-", ignore_cleanup_errors=True))
        )
        log = stack.enter_context((folder / "log").open("w+b"))
        process = processes.spawn(
            [str(PYTHON), *arguments(found)], cwd=ROOT, env=_environment(subjects, folder),
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        stack.callback(_stop_family, process)
        address = f"{LOOPBACK}:{found['HTTP']}"

        def check_alive() -> None:
            if process.poll() is not None:
                text = " ".join((folder / "log").read_text(errors="replace").split())
                raise InvalidRound(f"it ended by itself ({process.returncode}): ... {text[-300:]}")

        yield Started(address, check_alive)


def _environment(subjects: list[Subject], folder: Path) -> dict[str, str]:
    libpython = find_libpython()
    (folder / libpython.name).symlink_to(libpython)
    return os.environ | {
        # PyTriton's stub would take the first libpython it finds, of whatever patch release.
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH")])),
        "TMPDIR": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PATH": os.pathsep.join([str(PYTHON.parent), os.environ.get("PATH", os.defpath)]),
        "CONCH_BENCH_MODELS": json.dumps({subject.model: str(subject.onnx_file.resolve()) for subject in subjects}),
        # None of them is to report to its makers.
        "ORT_DISABLE_TELEMETRY": "1",
        "BENTOML_DO_NOT_TRACK": "True",
        "DO_NOT_TRACK": "1",
        "BENTOML_HOME": str(folder / "bentoml"),
    }


def _stop_family(process: subprocess.Popen[bytes]) -> None:
    """End the process, its group, and those of its descendants that made groups of their own."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    shared = processes.shared_memory(child.pid for child in family)
    try:
        processes.stop(process, STOP_SECONDS)
    finally:
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()  # psutil tells a reused number from the process it knew
        for file in shared:
            file.unlink(missing_ok=True)


def infer_call(address: str, subject: Subject) -> Call:
    """A KServe v2 request whose tensors are binary, as tritonclient makes it."""
    tensor = tritonclient.http.InferInput("image", list(subject.image.shape), "UINT8")
    tensor.set_data_from_numpy(subject.image)
    output = tritonclient.http.InferRequestedOutput("probabilities", binary_data=True)
    body, size = tritonclient.http.InferenceServerClient.generate_request_body([tensor], outputs=[output])
    headers = {"Inference-Header-Content-Length": str(size), "Content-Type": "application/octet-stream"}
    return Call(f"http://{address}/v2/models/{subject.model}/infer", body, headers)


def _infer_read(body: bytes, headers: Mapping[str, str]) -> np.ndarray:
    size = int(headers["inference-header-content-length"])
    return np.frombuffer(body[size:], np.float32)


def _raw_call(address: str, subject: Subject) -> Call:
    return Call(
        f"http://{address}/{subject.model}", subject.image.tobytes(), {"Content-Type": "application/octet-stream"}
    )


def _raw_read(body: bytes, _: Mapping[str, str]) -> np.ndarray:
    return np.frombuffer(body, np.float32)


def _json_call(content: Callable[[np.ndarray], object], address: str, subject: Subject) -> Call:
    body = json.dumps({"image": content(subject.image)}, separators=(",", ":")).encode()
    return Call(f"http://{address}/{subject.model}", body, {"Content-Type": "application/json"})


def _json_read(body: bytes, _: Mapping[str, str]) -> np.ndarray:
    found = json.loads(body)
    return np.asarray(found["probabilities"] if isinstance(found, dict) else found, np.float32)


def _uvicorn(workers: int, found: dict[str, int]) -> list[str]:
    return [
        "-m", "uvicorn", f"{PEERS}.fastapi_app:app", "--host", LOOPBACK, "--port", str(found["HTTP"]),
        "--workers", str(workers), "--loop", "uvloop", "--http", "httptools", "--no-access-log",
        "--log-level", "warning",
    ]  # fmt: skip


def _pytriton(found: dict[str, int]) -> list[str]:
    return ["-m", f"{PEERS}.pytriton_server", *(str(port) for port in found.values())]


def _litserve(found: dict[str, int]) -> list[str]:
    return ["-m", f"{PEERS}.litserve_server", str(found["HTTP"])]


def _bentoml(found: dict[str, int]) -> list[str]:
    service = f"{PEERS}.bentoml_service:Classifier"
    return ["-m", "bentoml", "serve", service, "--host", LOOPBACK, "--port", str(found["HTTP"])]


CONCH, PYTRITON, FASTAPI_1, FASTAPI_2 = "Conch", "PyTriton", "FastAPI, 1 worker", "FastAPI, 2 workers"
LITSERVE, BENTOML = "LitServe", "BentoML"

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(CONCH, _conch, infer_call, _infer_read),
        Contender(PYTRITON, partial(_peer, _pytriton), infer_call, _infer_read),
        Contender(FASTAPI_1, partial(_peer, partial(_uvicorn, 1)), _raw_call, _raw_read),
        Contender(FASTAPI_2, partial(_peer, partial(_uvicorn, 2)), _raw_call, _raw_read),
        Contender(
            LITSERVE, partial(_peer, _litserve), partial(_json_call, lambda image: image[0].tolist()), _json_read
        ),
        Contender(BENTOML, partial(_peer, _bentoml), partial(_json_call, lambda image: image.tolist()), _json_read),
    )
}
