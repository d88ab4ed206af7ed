"""What tests of shared memory send, and where they look for what is left of it."""

import json
import os
from pathlib import Path

import numpy as np
import urllib3

from clients import Client
from serving.server.server import Server

PROTOCOLS = ["http", "grpc"]
LARGE = 1 << 16  # numbers of an item of `wide`, 256 KiB


def regions(server: Server) -> set[str]:
    """The names that a server has registered."""
    answer = urllib3.request("GET", f"http://{server.http}/v2/systemsharedmemory/status")
    return {entry["name"] for entry in json.loads(answer.data)}


def files(process: int | None = None) -> set[str]:
    """The names of a process's regions that are in the file system."""
    return {file.name for file in Path("/dev/shm").glob(f"conch-*-{process or os.getpid()}-*")}


def x_of(number: float, items: int = 1) -> np.ndarray:
    return np.full((items, 4), number, np.float32)


def wide(number: float) -> np.ndarray:
    return np.full((1, LARGE), number, np.float32)


def check(client: Client, number: int) -> None:
    answer = client.infer("affine", {"x": x_of(number, 1 + number % 3)})
    np.testing.assert_array_equal(answer["doubled"], x_of(2 * number, 1 + number % 3))
    np.testing.assert_array_equal(client.infer("wide", {"x": wide(number)})["y"], -wide(number))
