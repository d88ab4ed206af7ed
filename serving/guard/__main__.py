"""`python -m serving.guard`: the filter behind nginx, which `conch serve --guard` starts, or a service of its own."""

import os
from pathlib import Path

import tyro

from serving.guard.filter import FilterPlaces, run
from serving.guard.limits import Limits


def main(
    http: Path,
    grpc: Path,
    triton: str = "127.0.0.1:8001",
    max_body: int = Limits.body,
    max_json: int = Limits.json,
    max_requests: int = Limits.requests,
    open: tuple[str, ...] = (),
    nice: int = 0,
) -> None:
    """Check what nginx has let in, until SIGTERM.

    Args:
        http: The Unix socket at which nginx asks about requests over HTTP.
        grpc: The Unix socket that takes gRPC from nginx.
        triton: Triton's gRPC, host:port.
        max_body: Bytes of a message.
        max_json: Bytes of JSON in a request.
        max_requests: Calls of gRPC under way.
        nice: By how much others go before it, as nice(1) has it.
        open: What of repository, shared-memory, trace and log is open to those with a control token.
    """
    os.nice(nice)
    run(FilterPlaces(http, grpc, triton), Limits(body=max_body, json=max_json, requests=max_requests), open)


if __name__ == "__main__":
    tyro.cli(main, prog="python -m serving.guard")
