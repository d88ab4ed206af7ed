import subprocess
import sys

ALLOWED = {"aiohttp", "clients", "grpc", "numpy", "PIL", "rich", "tenacity", "tritonclient", "tyro", "urllib3"}
HEAVY = {"torch", "lightning", "locust", "gevent", "geventhttpclient", "onnx", "onnxruntime", "matplotlib", "sklearn"}
OTHER_STAGES = {"training", "export", "serving", "loadtest", "conch", "yaml"}


def test_clients_import_nothing_heavy() -> None:
    program = (
        "import clients.__main__, sys\n"
        "for protocol in ('http', 'grpc'):\n"
        "    clients.connect('localhost:1', protocol), clients.connect_async('localhost:1', protocol)\n"
        "sys.stdout.write(' '.join(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in ended.stdout.split()}
    assert loaded >= ALLOWED
    assert loaded & (HEAVY | OTHER_STAGES) == set()
