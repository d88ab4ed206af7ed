"""Beside which `make bench-load` measures: Locust's own FastHttpUser, the same bytes, closed loop, nothing compared."""

import os
from pathlib import Path

from locust import FastHttpUser, task

from loadtest.golden import load_golden
from loadtest.wire import pack

GOLDEN = load_golden(Path(os.environ["CONCH_ARTIFACTS"]), "cnn")
HEAD, BODY = pack("http", GOLDEN, [0]).split(b"\r\n\r\n", 1)
LINES = HEAD.decode().split("\r\n")
PATH = LINES[0].split()[1]
HEADERS = dict(line.split(": ", 1) for line in LINES[1:] if line.startswith("Inference-"))


class Plain(FastHttpUser):
    """One connection that asks again as soon as it is answered."""

    host = f"http://{os.environ['CONCH_HTTP']}"

    @task
    def infer(self) -> None:
        self.client.post(PATH, data=BODY, headers=HEADERS, name="cnn")
