"""Beside which `make bench-load` measures: Locust's own FastHttpUser, the same bytes, closed loop, nothing compared."""

import os
from pathlib import Path

from locust import FastHttpUser, task

from loadtest.golden import load_golden
from loadtest.wire import pack

GOLDEN = load_golden(Path(os.environ["CONCH_ARTIFACTS"]), "cnn")
PACKED = pack("http", GOLDEN, [0])
HEADERS = dict(line.split(": ") for line in PACKED.lengths.decode().splitlines() if line.startswith("Inference-"))


class Plain(FastHttpUser):
    """One connection that asks again as soon as it is answered."""

    host = f"http://{os.environ['CONCH_HTTP']}"

    @task
    def infer(self) -> None:
        self.client.post(PACKED.path, data=PACKED.body, headers=HEADERS, name="cnn")
