"""A server of the search's own, over a copy of the model: what is tried is a whole config.pbtxt, and only there."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.errors import ServingError
from serving.kserve.endpoint import ControlClient, NoAnswer, Refused
from serving.repository.configuration import parse, render
from serving.server.server import Server
from serving.tune.candidates import Candidate
from serving.tune.load import LoadFailed, Point, run_load

LOAD_SECONDS = 60.0
"""Within which a model must load, warm-up included."""


class TrialServer:
    """Loads candidates one at a time and measures them; `trial_server` starts one."""

    def __init__(self, server: Server, artifacts: Path) -> None:
        self._server = server
        self._artifacts = artifacts
        self._originals = {
            folder.name: (folder / "config.pbtxt").read_text() for folder in (artifacts / "models").iterdir()
        }
        self._loaded: Candidate | None = None

    def measure(self, candidate: Candidate, users: int, seconds: int) -> Point:
        """Serve `candidate` and load it.

        Raises:
            LoadFailed: It cannot be served, or the load failed.
            ServingError: The server has ended, or the load test cannot be run.
        """
        self._server.check_alive()
        if candidate != self._loaded:
            self._loaded = None
            self._load(candidate)
            self._loaded = candidate
        addresses = {
            "CONCH_HTTP": self._server.http, "CONCH_GRPC": self._server.grpc, "CONCH_METRICS": self._server.metrics
        }  # fmt: skip
        return run_load(addresses, self._artifacts, candidate.model, users, seconds)

    def _load(self, candidate: Candidate) -> None:
        with ControlClient(self._server.http, LOAD_SECONDS) as client:
            for other in self._originals:
                if other != candidate.model:  # it would keep its instances
                    self._ask(client.unload, other, "unload")
            config = candidate.apply(parse(self._originals[candidate.model]))
            if config.HasField("dynamic_batching"):
                # What is measured is all that it can answer, which decides the bound that --write writes.
                config.dynamic_batching.ClearField("default_queue_policy")
            (self._artifacts / "models" / candidate.model / "config.pbtxt").write_text(render(config))
            self._ask(client.load, candidate.model, "load")

    def _ask(self, call: Callable[[str], None], model: str, what: str) -> None:
        try:
            call(model)
        except NoAnswer as error:
            self._server.check_alive()
            raise LoadFailed(f"model {model!r} did not {what} within {LOAD_SECONDS:g} s ({error})") from error
        except Refused as error:
            raise LoadFailed(f"model {model!r} did not {what}: {error.reason[:300]}") from error


@contextmanager
def trial_server(repository: Path, models: list[str], log_file: Path) -> Iterator[TrialServer]:
    """A server on free ports over a copy of `models`, which is gone afterwards.

    Raises:
        ServingError: What `Server` raises, or a copy that cannot be made.
    """
    with tempfile.TemporaryDirectory(prefix="conch-tune-") as folder:
        artifacts = Path(folder)
        try:
            for model in models:
                shutil.copytree(repository / model, artifacts / "models" / model)
        except (OSError, shutil.Error) as error:
            raise ServingError(f"cannot copy {repository} to {artifacts}: {error}") from error
        options = ("--model-control-mode=explicit", *(f"--load-model={model}" for model in models))
        with Server(
            artifacts / "models", http_port=0, grpc_port=0, metrics_port=0, log_file=log_file, options=options
        ) as server:
            yield TrialServer(server, artifacts)
