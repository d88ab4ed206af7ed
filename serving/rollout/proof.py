"""What a version has to show on the running server before clients get it, under a name of its own.

When it is loaded the backend asks the graph its golden answers. Then the project's own load test sends them through the
server, at the rate that is promised, and compares each; and where the model has a score, the recipe's own scoring runs
through the server. Both are programs of their own: the server's tools need neither Locust nor PyTorch.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conch.command_line import program
from conch.contracts.golden import read_version_manifest
from conch.contracts.live import config_file
from serving.errors import ServingError
from serving.repository.configuration import parse
from serving.server import processes
from serving.server.running import Running

ENOUGH_REQUESTS = 400
"""For a p99 with an interval: docs/load.md."""
SHORTEST_S, LONGEST_S = 2, 15
WITHOUT_PROMISE = {"rate": 50.0, "error_rate": 0.0}
START_SECONDS = 120.0
"""What a program gets beyond the time of the load itself."""
SCORE_SECONDS = 1800.0


class NotShown(ServingError):
    """The version is not what it has to be, or that could not be shown."""


def prove(server: Running, model: Path, version: int, name: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Hold `version` of the model in the folder `model`, which the server has as `name`, against what is known of it.

    Returns what was shown, for the history: `golden` and `load`, `score` where there is one, `not_shown` with a reason
    for what could not be.

    Raises:
        NotShown: A wrong answer, a broken promise, another score, or none of it could be told.
        ServingError: A program cannot be run.
    """
    config = parse(config_file(model, version).read_text(encoding="utf-8"))
    shown: dict[str, Any] = {"golden": "asked by the backend when it was loaded", "not_shown": {}}
    if config.HasField("sequence_batching"):
        shown["not_shown"]["load"] = "it keeps a state: a load needs a scenario (conch load mix)"
    elif importlib.util.find_spec("loadtest") is None or importlib.util.find_spec("locust") is None:
        shown["not_shown"]["load"] = "Locust is not installed: pip install 'conch[cpu]' (or [gpu])"
    else:
        shown["load"] = _load(server, model, version, name, say)
    if read_version_manifest(model / str(version)).get("score"):
        if importlib.util.find_spec("training") is None or importlib.util.find_spec("torch") is None:
            shown["not_shown"]["score"] = "PyTorch is not installed: pip install 'conch[cpu]' (or [gpu])"
        else:
            say("its score")
            shown["score"] = _score(server, model, version, name)
    return shown


def _load(server: Running, model: Path, version: int, name: str, say: Callable[[str], None]) -> dict[str, Any]:
    promise = _promise(model)
    seconds = round(min(max(ENOUGH_REQUESTS / promise["rate"], SHORTEST_S), LONGEST_S)) if promise else SHORTEST_S
    say(f"its promise, {seconds} s of load" if promise else f"its golden answers, {seconds} s of load")
    with tempfile.TemporaryDirectory(prefix="conch-rollout-") as folder:
        artifacts = Path(folder)
        (artifacts / "models").mkdir()
        (artifacts / "models" / name).symlink_to(Path(server.models) / name)
        promises = artifacts / "promises.yaml"
        promises.write_text(json.dumps({name: promise or WITHOUT_PROMISE}))  # JSON is YAML
        code, said = _run(
            server,
            program(
                "loadtest", "run", name, "--duration", f"{seconds}s", "--promises", str(promises),
                "--artifacts", str(artifacts), "--json",
            ),
            seconds + START_SECONDS,
        )  # fmt: skip
    if code == 0:
        (run,) = json.loads(said)
        found = {key: run.get(key) for key in ("verdict", "requests", "failures", "rate", "latency_ms")}
        return found | {"promise": promise}
    ended = {1: "its load test says BROKEN", 2: "its load test is INVALID and shows nothing: do it again"}
    raise NotShown(f"{ended.get(code, 'its load test cannot be run')}: {_reason(said)}")


def _promise(model: Path) -> dict[str, Any] | None:
    """What `conch load` knows to be promised of the model, by the same files."""
    done = subprocess.run(
        program("loadtest", "promises", "--json"), capture_output=True, text=True, timeout=START_SECONDS, check=False
    )
    try:
        promises: dict[str, dict[str, Any]] = json.loads(done.stdout)
    except ValueError:
        raise ServingError(f"the promises cannot be read: {_reason(done.stderr)}") from None
    promise = promises.get(model.name)
    return {key: value for key, value in promise.items() if value is not None} if promise else None


def _score(server: Running, model: Path, version: int, name: str) -> str:
    asked = ("score", model.name, "--served-as", name, "--version", str(version), "--url", server.http)
    code, said = _run(server, program("conch.report", *asked), SCORE_SECONDS)
    if code:
        raise NotShown(f"its score through the server: {_reason(said)}")
    return _reason(said)


def _run(server: Running, command: list[str], seconds: float) -> tuple[int, str]:
    """Exit code and output of a program that speaks to the server; both outputs where it fails."""
    addresses = {"CONCH_HTTP": server.http, "CONCH_GRPC": server.grpc, "CONCH_METRICS": server.metrics}
    process = processes.spawn(
        command, env={**os.environ, **addresses}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise NotShown(f"`{command[-1]}` did not end within {seconds:g} s") from None
    finally:
        processes.stop(process, grace=5.0)
    text = output if process.returncode == 0 else errors + output
    return process.returncode, text.decode(sys.getdefaultencoding(), errors="replace")


def _reason(text: str) -> str:
    """The last of what a program said, in one line."""
    lines = [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]
    told = [line for line in lines if line.startswith("error:") or "BROKEN" in line or "INVALID" in line] or lines[-1:]
    return "; ".join(line.removeprefix("error: ") for line in told)[:500]
