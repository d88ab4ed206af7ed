"""HAProxy in front of several servers, as a process of the test's own."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

PROGRAM = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
INSTALL = "haproxy is missing: apt-get install haproxy"
BALANCE = {"round_robin": "roundrobin", "least_outstanding": "leastconn"}
CONFIG = """
global
  maxconn 4096
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen balanced
  bind 127.0.0.1:{port}
  balance {balance}
  http-reuse always
  option redispatch
{servers}
"""


@contextlib.contextmanager
def haproxy(servers: Sequence[str], balancer: str, folder: Path) -> Iterator[str]:
    """host:port where it answers for `servers` (host:port each), balancing as `conch size --balancer` has it."""
    assert PROGRAM, INSTALL
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lines = "\n".join(f"  server s{number} {address}" for number, address in enumerate(servers))
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "haproxy.cfg"
    config.write_text(CONFIG.format(port=port, balance=BALANCE[balancer], servers=lines))
    with (folder / "haproxy.log").open("w") as log:
        process = subprocess.Popen([PROGRAM, "-db", "-f", str(config)], stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + 10
            while True:
                assert process.poll() is None, (folder / "haproxy.log").read_text()
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)
