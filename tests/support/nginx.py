"""nginx in front of a server, as a process of the test's own."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.authority import Identity

PROGRAM = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
INSTALL = "nginx is missing: apt-get install nginx"

CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {servers}
}}
"""

SERVER = """
client_max_body_size 0;
server {{
  listen 127.0.0.1:{port} ssl{http2};
  ssl_certificate {folder}/server.pem;
  ssl_certificate_key {folder}/server.key;
  {verify}
  location / {{
    {guard}
    {forward};
  }}
}}
"""


@contextlib.contextmanager
def nginx(upstream: str, identity: Identity, folder: Path, token: str = "") -> Iterator[str]:
    """The address, with its prefix, at which nginx ends TLS before `upstream`, "http://..." or "grpc://...".

    It takes callers with the bearer `token` only, and with a certificate where `identity` says so.
    """
    verify = ""
    folder.mkdir()
    if identity.of_callers:
        identity.of_callers.cert_pem.write_to_path(str(folder / "callers.pem"))
        verify = f"ssl_client_certificate {folder}/callers.pem; ssl_verify_client on;"
    grpc, port = upstream.startswith("grpc"), free_port()
    server = SERVER.format(
        folder=folder,
        port=port,
        http2=" http2" if grpc else "",
        verify=verify,
        guard=f'if ($http_authorization != "Bearer {token}") {{ return 401; }}' if token else "",
        forward=f"grpc_pass {upstream}" if grpc else f"proxy_pass {upstream}",
    )
    with running(server, [port], identity, folder):
        yield f"{'grpcs' if grpc else 'https'}://localhost:{port}"


@contextlib.contextmanager
def running(servers: str, ports: list[int], identity: Identity, folder: Path) -> Iterator[None]:
    """An nginx with these `servers`, which listen to `ports` and find `identity` in `folder`."""
    assert PROGRAM is not None, INSTALL
    (folder / "server.pem").write_bytes(identity.chain)
    (folder / "server.key").write_bytes(identity.key)
    (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, servers=servers))
    command = [PROGRAM, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    process = subprocess.Popen(command)
    try:
        for port in ports:
            _await(port, process, folder / "error.log")
        yield
    finally:
        process.terminate()
        process.wait(20)


def free_port() -> int:
    """One that nobody listens to now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _await(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nginx does not listen to {port}: {log.read_text()}")
