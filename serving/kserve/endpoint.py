"""The one control client: ask a running server what it serves, and have it load and unload models.

KServe v2 over HTTP with Triton's extensions (model repository, statistics), a call an answer. It is written on
`http.client`: `tritonclient.http` brings gevent, whose connections belong to one thread, and the gRPC service has
another port than the one that `status` is given.

Source: triton-inference-server/server docs/protocol (model configuration, model repository, statistics extensions).
"""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from serving.errors import ServingError
from serving.kserve.address import http_place


class NoAnswer(ServingError):
    """There is no server, what answers is no Triton, or the answer did not come in time."""


class Refused(ServingError):
    """A Triton refuses what it was asked."""

    def __init__(self, asked: str, reason: str) -> None:
        super().__init__(f"the server refuses {asked}: {reason}")
        self.reason = reason
        """What the server says, in one line."""


@dataclass(frozen=True)
class ModelState:
    """One version of one model on a server."""

    name: str
    version: str
    state: str
    """`READY`, `UNAVAILABLE`, ..., as Triton says it."""
    reason: str

    @property
    def ready(self) -> bool:
        return self.state == "READY"


class ControlClient:
    """Calls one server on one connection, which is opened again where it was closed; for one thread at a time.

    Args:
        address: The server's HTTP service, "http://host:port" or "host:port", possibly with a base path.
        timeout: Seconds within which each answer has to come.

    Raises:
        ServingError: Here, where `address` is none.
        NoAnswer: By every method, where no Triton answers.
        Refused: By every method, where the server refuses the call.
    """

    def __init__(self, address: str, timeout: float = 5.0) -> None:
        place, _, base = http_place(address).partition("/")
        self.address = f"http://{place}{'/' if base else ''}{base}"
        self._base = f"/{base}" if base else ""
        self._connection = http.client.HTTPConnection(place, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def about(self) -> str:
        """Name and version of the server, for example `triton 2.51.0`."""
        about = self._json("GET", "/v2")
        if not isinstance(about, dict) or "version" not in about:
            raise self._no_triton("no version")
        return f"{about.get('name', '?')} {about['version']}"

    def index(self) -> list[ModelState]:
        """All models in the server's repository, sorted by name and version."""
        index = self._json("POST", "/v2/repository/index")
        try:
            states = [
                ModelState(entry["name"], entry["version"], entry["state"], entry.get("reason", ""))
                if "state" in entry
                else ModelState(entry["name"], "-", "UNAVAILABLE", "not loaded, the log of the server says why")
                for entry in index
            ]
        except (TypeError, LookupError, AttributeError):
            raise self._no_triton("no index") from None
        return sorted(states, key=lambda state: (state.name, state.version.zfill(20)))

    def config(self, model: str, version: str) -> dict[str, Any]:
        """The configuration of a loaded model as protobuf's JSON, completed by the server; 64-bit numbers are texts."""
        config: dict[str, Any] = self._json("GET", f"{_path(model, version)}/config")
        return config

    def statistics(self, model: str, version: str) -> dict[str, Any]:
        """What the server has counted of a loaded model: `inference_stats`, `batch_stats`, ..., times in ns."""
        answer = self._json("GET", f"{_path(model, version)}/stats")
        try:
            statistics: dict[str, Any] = answer["model_stats"][0]
        except (TypeError, LookupError):
            raise self._no_triton("no statistics") from None
        return statistics

    def load(self, model: str) -> None:
        """Load a model, or load it anew; returns when it is ready. For a server with explicit model control."""
        self._call("POST", f"/v2/repository/models/{quote(model)}/load", b"{}")

    def unload(self, model: str) -> None:
        """Unload a model; Triton does not wait for the end of what it still runs."""
        self._call("POST", f"/v2/repository/models/{quote(model)}/unload", b"{}")

    def infer(self, model: str, version: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Post a request that `tritonclient.http` has encoded; returns the answer as it is."""
        return self._call("POST", f"{_path(model, version)}/infer", body, headers)

    def metrics(self) -> str:
        """The metrics in Prometheus' text format; for a client of the metrics service's address."""
        return self._call("GET", "/metrics").decode(errors="replace")

    def _json(self, method: str, path: str) -> Any:
        try:
            return json.loads(self._call(method, path))
        except ValueError as error:
            raise self._no_triton(repr(error)) from error

    def _call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        try:
            self._connection.request(method, self._base + path, body, dict(headers or {}))
            response = self._connection.getresponse()
            answer = response.read()
        except OSError as error:
            self._connection.close()  # what comes late would be taken for the next answer
            reason = error.strerror or str(error)
            raise NoAnswer(f"no server at {self.address} ({reason}): start one with `conch serve`") from error
        except http.client.HTTPException as error:
            self._connection.close()
            raise self._no_triton(repr(error)) from error
        if response.status != http.client.OK:
            raise self._refusal(f"{method} {path}", response.status, answer)
        return answer

    def _refusal(self, asked: str, status: int, answer: bytes) -> ServingError:
        try:
            reason = str(json.loads(answer)["error"])
        except (ValueError, LookupError, TypeError):
            return self._no_triton(f"it answers {asked} with status {status}")
        return Refused(asked, " ".join(reason.split()))

    def _no_triton(self, what: str) -> NoAnswer:
        return NoAnswer(f"what answers at {self.address} is no Triton server ({what})")


def model_states(address: str, timeout: float = 5.0) -> list[ModelState]:
    """`ControlClient.index` of the server at `address`, with what it raises."""
    with ControlClient(address, timeout) as client:
        return client.index()


def server_version(address: str, timeout: float = 5.0) -> str:
    """`ControlClient.about` of the server at `address`, with what it raises."""
    with ControlClient(address, timeout) as client:
        return client.about()


def _path(model: str, version: str) -> str:
    return f"/v2/models/{quote(model)}/versions/{quote(version)}"
