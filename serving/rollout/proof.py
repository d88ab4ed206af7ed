"""What a version has to show on the running server before clients get it, under a name of its own.

When it is loaded the backend asks the graph its golden answers. Then the project's own load test sends them through the
server, at the rate that is promised, and compares each; and where the model has a score, the recipe's own scoring runs
through the server. Both are programs of their own: the server's tools need neither Locust nor PyTorch.
"""

import importlib.util
import json
import os
import subprocess
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
INVALID = 2
ENDED = {0: "KEPT", 1: "its load test says BROKEN", INVALID: "its load test is INVALID and shows nothing: do it again"}
"""What an exit code of `conch load run` with a run behind it means."""
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
    manifest = read_version_manifest(model / str(version))
    if manifest.get("score") and "source" not in manifest:  # what has no recipe has nothing that scores it
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
        how = () if promise else ("--arrivals", "closed", "--users", "4")
        code, output, errors = _run(
            server,
            program(
                "loadtest", "run", name, "--duration", f"{seconds}s", *how, "--promises", str(promises),
                "--artifacts", str(artifacts),
            ),
            seconds + START_SECONDS,
        )  # fmt: skip
        file = artifacts / "report" / "load" / name / "run.json"
        run = json.loads(file.read_text()) if file.exists() else {"requests": 0, "failures": 0}
    # Without a promise there is none that could be shown or not: the answers are what is asked for.
    if code == 0 or (code == INVALID and not promise and run["requests"] and not run["failures"]):
        kept = ("verdict", "requests", "failures", "rate", "latency_ms")
        return {key: run.get(key) for key in kept} | {"promise": promise}
    raise NotShown(f"{ENDED.get(code, 'its load test cannot be run')}: {_reason(output, errors)}")


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
    code, output, errors = _run(server, program("conch.report", *asked), SCORE_SECONDS)
    if code:
        raise NotShown(f"its score through the server: {_reason(output, errors)}")
    return _reason(output)


def _run(server: Running, command: list[str], seconds: float) -> tuple[int, str, str]:
    """Exit code, output and errors of a program that speaks to the server."""
    addresses = {"CONCH_HTTP": server.http, "CONCH_GRPC": server.grpc, "CONCH_METRICS": server.metrics}
    process = processes.spawn(
        command, env={**os.environ, **addresses}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise NotShown(f"what was to show it did not end within {seconds:g} s") from None
    finally:
        processes.stop(process, grace=5.0)
    return process.returncode, output.decode(errors="replace"), errors.decode(errors="replace")


def _reason(*texts: str) -> str:
    """What a program said was wrong, else its last words, in one line."""
    lines = [line for text in texts for line in (" ".join(line.split()) for line in text.splitlines()) if line]
    told = [line for line in lines if line.startswith(("error:", "BROKEN", "INVALID"))]
    return "; ".join(line.removeprefix("error: ") for line in told or lines[-1:])[:500]
