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
  client_max_body_size 0;
  server {{
    listen 127.0.0.1:{port} ssl{http2};
    ssl_certificate {folder}/server.pem;
    ssl_certificate_key {folder}/server.key;
    {verify}
    location / {{
      {guard}
      {forward}
    }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(upstream: str, identity: Identity, folder: Path, token: str = "") -> Iterator[str]:
    """The address, with its prefix, at which nginx ends TLS before `upstream`, "http://..." or "grpc://...".

    It takes callers with the bearer `token` only, and with a certificate where `identity` says so.
    """
    assert PROGRAM is not None, INSTALL
    folder.mkdir()
    (folder / "server.pem").write_bytes(identity.chain)
    (folder / "server.key").write_bytes(identity.key)
    verify = ""
    if identity.of_callers:
        identity.of_callers.cert_pem.write_to_path(str(folder / "callers.pem"))
        verify = f"ssl_client_certificate {folder}/callers.pem; ssl_verify_client on;"
    grpc = upstream.startswith("grpc")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = CONFIG.format(
        folder=folder,
        port=port,
        http2=" http2" if grpc else "",
        verify=verify,
        guard=f'if ($http_authorization != "Bearer {token}") {{ return 401; }}' if token else "",
        forward=f"grpc_pass {upstream};" if grpc else f"proxy_pass {upstream}; proxy_http_version 1.1;",
    )
    (folder / "nginx.conf").write_text(config)
    command = [PROGRAM, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert process.poll() is None, (folder / "error.log").read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.02)
        yield f"{'grpcs' if grpc else 'https'}://localhost:{port}"
    finally:
        process.terminate()
        process.wait(20)
