"""gunicorn that loads the service before it forks: one client, made and used by the parent, and by its workers."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import urllib3

from serving.repository.foreign import publish_file
from serving.server.server import Server
from tests.support import graphs
from tests.support.loads import ROOT

WORKERS, CALLS = 2, 60

SERVICE = """
import json, os
import numpy as np
from clients import connect

client = connect(os.environ["SERVER"], shared_memory=os.environ["MEMORY"] == "shared")
parent = os.getpid()

def right(number):
    x = np.full((1, 4), number, np.float32)
    return bool((client.infer("affine", {"x": x})["doubled"] == 2 * number).all())

assert right(-1)  # has a connection before the fork

def app(environ, start_response):
    number = int(environ["PATH_INFO"].strip("/"))
    said = {"right": right(number), "process": os.getpid(), "preloaded": os.getppid() == parent}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(said).encode()]
"""

SETTINGS = f"""
import service

workers, threads = {WORKERS}, 4
preload_app = True

def pre_fork(server, worker):  # in the parent, between one fork and the next
    assert all(service.right(-number) for number in range(20))

def post_worker_init(worker):  # in each worker, while the parent forks the next
    assert all(service.right(1000 + number) for number in range(40))
    print("answers of worker", worker.pid, "are right", flush=True)

def on_exit(server):
    assert all(service.right(-number) for number in range(20))
    print("the parent's answers are right", flush=True)
"""


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("gunicorn")
    publish_file(graphs.write(graphs.AFFINE, folder / "affine.onnx"), "affine", folder / "models")
    with Server(folder / "models", http_port=0, grpc_port=0, metrics_port=0) as server:
        yield server


@pytest.mark.parametrize(("protocol", "memory"), [("http", "messages"), ("grpc", "shared")])
def test_parent_and_workers_go_on_with_one_client(triton: Server, tmp_path: Path, protocol: str, memory: str) -> None:
    (tmp_path / "service.py").write_text(SERVICE)
    (tmp_path / "settings.py").write_text(SETTINGS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {
        **os.environ,
        "SERVER": f"{protocol}://{getattr(triton, protocol)}",
        "MEMORY": memory,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]),
    }
    command = [sys.executable, "-m", "gunicorn", "--config", "settings.py", "--bind", address, "service:app"]
    gunicorn = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        wait_for(address, gunicorn)
        with ThreadPoolExecutor(8) as pool:
            said = list(pool.map(lambda number: ask(f"http://{address}/{number}"), range(CALLS)))
        gunicorn.send_signal(signal.SIGTERM)
        log = gunicorn.communicate(timeout=30)[0]
    finally:
        gunicorn.kill()
        gunicorn.wait(10)
    assert all(answer["right"] and answer["preloaded"] for answer in said)
    assert gunicorn.returncode == 0, log
    assert "the parent's answers are right" in log
    assert "Traceback" not in log
    workers = set(map(int, re.findall(r"answers of worker (\d+) are right", log)))
    assert len(workers) == WORKERS
    assert {answer["process"] for answer in said} <= workers
    for process in (gunicorn.pid, *workers):
        assert not list(Path("/dev/shm").glob(f"conch-*-{process}-*"))
    assert ask(f"http://{triton.http}/v2/systemsharedmemory/status") == []


def ask(url: str) -> Any:
    return json.loads(urllib3.request("GET", url, timeout=20, headers={"Connection": "close"}).data)


def wait_for(address: str, process: "subprocess.Popen[str]") -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise AssertionError(f"gunicorn does not answer:\n{process.communicate()[0]}")
