"""The guard's filter keeps nothing of the calls that it has answered, however many and however large they were."""

import subprocess
import sys
import time
from pathlib import Path

import grpc
import psutil
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.support.loads import ROOT

MIB = 2**20


def refused(
    stub: service_pb2_grpc.GRPCInferenceServiceStub, request: service_pb2.ModelInferRequest, times: int
) -> None:
    for _ in range(times):
        with pytest.raises(grpc.RpcError, match="refused before the server"):
            stub.ModelInfer(request, timeout=20)


@pytest.mark.slow
def test_what_is_refused_is_forgotten(tmp_path: Path) -> None:
    large = service_pb2.ModelInferRequest(model_name="affine")
    for _ in range(20_000):  # 2 MiB, once it is read
        large.inputs.add(name="x")
    lie = service_pb2.ModelInferRequest(model_name="affine")
    lie.inputs.add(name="x", datatype="FP32").shape.extend([1, 2**61])
    sockets = [tmp_path / "check", tmp_path / "hop"]
    command = [sys.executable, "-m", "serving.guard", "--http", str(sockets[0]), "--grpc", str(sockets[1])]
    with subprocess.Popen([*command, "--triton", "127.0.0.1:9"], cwd=ROOT) as process:
        try:
            while not sockets[1].exists():
                assert process.poll() is None
                time.sleep(0.05)
            with grpc.insecure_channel(f"unix:{sockets[1]}") as channel:
                grpc.channel_ready_future(channel).result(20)
                stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
                refused(stub, large, 20)
                memory = [psutil.Process(process.pid).memory_info().rss / MIB]
                for request, times in ((large, 100), (lie, 1500), (lie, 1500)):
                    refused(stub, request, times)
                    time.sleep(1.5)  # it looks for what was left once a second
                    memory.append(psutil.Process(process.pid).memory_info().rss / MIB)
        finally:
            process.terminate()
    before, large_ones, many, more = memory
    assert large_ones < before + 50
    assert more < many + 6
