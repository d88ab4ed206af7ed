"""A guard before a real Triton, and how it is asked."""

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import grpc
import numpy as np
import psutil
from tritonclient.grpc import service_pb2, service_pb2_grpc

from serving.guard.access import Access
from serving.guard.guard import Guard
from serving.guard.limits import Limits
from serving.server.server import Server
from tests.support.authority import Authority, Identity
from tests.support.hostile.healthy import X

ANY = {"HTTP": 0, "gRPC": 0, "metrics": 0}
TOKEN, CONTROL = "of-the-tests-alone-1", "of-the-tests-alone-2"


def guarded(triton: Server, folder: Path, access: Access | None = None, **limits: int) -> Guard:
    """A guard of `triton` on free ports, with its log in `folder`."""
    return Guard(triton, "127.0.0.1", ANY, Limits(**limits), access or Access(), log_file=folder / "guard.log")


def with_tls(authority: Authority, identity: Identity, **access: Any) -> Access:
    """Who is let in by a guard that shows `identity`."""
    certificate, key = authority.folder / "guard.pem", authority.folder / "guard.key"
    certificate.write_bytes(identity.chain)
    key.write_bytes(identity.key)
    client_ca = authority.ca if identity.of_callers else None
    return Access(certificate, key, client_ca, **access)


def by_name(guard: Guard) -> dict[str, str]:
    """Its addresses by the name that stands in its certificate."""
    return {name: url.replace("127.0.0.1", "localhost") for name, url in guard.addresses.items()}


def ask(url: str, path: str, body: bytes | None = None, token: str = "", **headers: str) -> tuple[int, str]:
    """The status of a request over HTTP, and what was answered."""
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        with urlopen(Request(url + path, body, headers), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def code(channel: grpc.Channel, method: str, token: str) -> int:
    """The number of gRPC's status."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    kind = getattr(service_pb2, f"{method}Request")
    try:
        getattr(stub, method)(kind(), metadata=[("authorization", f"Bearer {token}")] if token else [], timeout=20)
    except grpc.RpcError as error:
        return int(error.code().value[0])
    return 0


def infer(client: Any) -> Any:
    """What `affine` makes of X."""
    return client.infer("affine", {"x": X})


def right(answers: Sequence[dict[str, np.ndarray]]) -> bool:
    """Whether these are what it has to make of it."""
    return all(np.array_equal(answer["doubled"], 2 * X) for answer in answers)


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it has started."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def processes_of(triton: Server, guard: Guard) -> set[int]:
    """All that serve: Triton, its models', nginx and its workers, the filter."""
    return {process.pid for pid in (triton.pid, *guard.pids.values()) for process in family(pid)}


@contextlib.contextmanager
def stopped(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """These stand still within the block."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def until_health(page: str, status: int, seconds: float = 30.0) -> dict[str, str]:
    """Wait until the supervisor's page says this of what has been looked at; what it says is wrong."""
    deadline = time.monotonic() + seconds
    while (found := ask(page, "/health"))[0] != status or "not looked at yet" in found[1]:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    faults: dict[str, str] = json.loads(found[1])["faults"]
    return faults
