import subprocess
import sys

ALLOWED = {"clients", "numpy", "PIL", "rich", "tritonclient", "tyro"}
HEAVY = {"torch", "lightning", "onnx", "onnxruntime", "matplotlib", "sklearn", "yaml", "training", "export", "serving"}


def test_clients_import_nothing_heavy() -> None:
    program = "import clients.__main__, clients.http, clients.grpc, sys; sys.stdout.write(' '.join(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in ended.stdout.split()}
    assert loaded >= ALLOWED
    assert loaded & HEAVY == set()
