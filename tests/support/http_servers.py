"""HTTP servers that answer what a test wants, on a port of their own."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answering(BaseHTTPRequestHandler):
    """What the servers' handlers share; none writes a log."""

    def answer(self, body: bytes, status: int = 200, length: int | None = None) -> None:
        """Send `body`; `length` is what is claimed of it."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A caller that went away, or did not trust this server."""


@contextlib.contextmanager
def answering(handler: type[Answering], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server that lives as long as the block, over TLS where it has a `context`."""
    with _Server(("127.0.0.1", 0), handler) as server:
        if context is not None:
            # The handshake is the connection's own thread's, which must not hold up the others.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()
