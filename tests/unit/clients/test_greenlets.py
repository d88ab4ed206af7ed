"""A call over gRPC returns when it is answered, however many others wait: of the client, and of the load generator."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.kserve_servers import serving_double

ROOT = Path(__file__).parents[3]
BEGIN = """
from gevent import monkey
monkey.patch_all()
import sys, gevent, numpy as np
"""
CLIENT = """
from clients import connect
client = connect(f"grpc://127.0.0.1:{sys.argv[1]}", timeout=60)

def caller():
    return lambda x: client.infer("double", {"x": x})
"""
WIRE = """
from loadtest.golden import Golden
from clients.access import Door
from clients.address import resolve
from loadtest.wire import GrpcWire, pack

def caller():
    wire = GrpcWire(Door(resolve(f"grpc://127.0.0.1:{sys.argv[1]}")), 60)
    return lambda x: wire.send(pack("grpc", Golden("double", "1", {"x": x}, {"doubled": x}, {}, str(x[0, 0])), [0]))
"""
MANY = """
ended = []

def call(name, ask, value):
    ask(np.full((1, 4), value, np.float32))
    ended.append(name)

quick = caller()
call("before", quick, 1)
slow = [gevent.spawn(call, "slow", caller(), -1) for _ in range(20)]
gevent.sleep(0.5)
call("quick", quick, 1)
gevent.joinall(slow)
assert ended == ["before", "quick", *["slow"] * 20], ended
"""


@pytest.mark.slow
@pytest.mark.parametrize("of", [CLIENT, WIRE], ids=["client", "load generator"])
def test_an_answer_is_not_kept_waiting_by_slower_ones(of: str) -> None:
    with serving_double("grpc") as (port, model):
        model.more_seconds = 2.0
        ended = subprocess.run(
            [sys.executable, "-c", BEGIN + of + MANY, str(port)], cwd=ROOT, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert model.runs == 22
