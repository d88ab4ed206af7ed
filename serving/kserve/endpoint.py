"""Ask a running server what it serves (KServe v2 over HTTP, Triton's repository extension)."""

import http.client
import json
from dataclasses import dataclass
from typing import Any

from serving.errors import ServingError


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


def model_states(address: str, timeout: float = 5.0) -> list[ModelState]:
    """All models in the repository of the server at `address` ("host:port"), sorted by name and version.

    Raises:
        ServingError: There is no server, or what answers is no Triton.
    """
    index = _request(address, "POST", "/v2/repository/index", timeout)
    if not isinstance(index, list):
        raise ServingError(f"what answers at {address} is no Triton server")
    states = [
        ModelState(entry["name"], entry["version"], entry["state"], entry.get("reason", ""))
        if "state" in entry
        else ModelState(entry["name"], "-", "UNAVAILABLE", "no version")
        for entry in index
    ]
    return sorted(states, key=lambda state: (state.name, state.version.zfill(20)))


def server_version(address: str, timeout: float = 5.0) -> str:
    """Name and version of the server at `address`, for example `triton 2.51.0`."""
    about = _request(address, "GET", "/v2", timeout)
    if not isinstance(about, dict) or "version" not in about:
        raise ServingError(f"what answers at {address} is no Triton server")
    return f"{about.get('name', '?')} {about['version']}"


def _request(address: str, method: str, path: str, timeout: float) -> Any:
    try:
        connection = http.client.HTTPConnection(address, timeout=timeout)
    except http.client.InvalidURL as error:
        raise ServingError(f"{address!r} is no address: {error}, wanted is host:port") from None
    try:
        connection.request(method, path)
        return json.loads(connection.getresponse().read())
    except OSError as error:
        reason = error.strerror or str(error)
        raise ServingError(f"no server at {address} ({reason}): start one with `conch serve`") from error
    except (http.client.HTTPException, ValueError) as error:
        raise ServingError(f"what answers at {address} is no Triton server ({error!r})") from error
    finally:
        connection.close()
