"""A TCP proxy that does to connections what networks and dying servers do."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Literal

Fault = Literal["none", "silence", "drip", "half", "reset", "close", "garbage", "deaf"]
"""silence: the answer is held back. drip: a byte of it every 50 ms. half: its first bytes, then the end. reset: the
connection is reset when the answer comes. close: it is closed then. garbage: other bytes instead. deaf: nothing that
the caller sends is read."""

GARBAGE = bytes(range(128, 256)) + b"\r\n"


class FaultyProxy:
    """Forwards connections to `target` until `fault` says otherwise, for those under way, too."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.fault: Fault = "none"
        self.half = 40
        """So many bytes of an answer are let through by `half`."""
        self.connections = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def stop_listening(self) -> None:
        """From now on connections are refused, and those there are, are reset."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def listen_again(self) -> None:
        """At the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        threading.Thread(target=self._accept, daemon=True).start()

    def drop(self) -> None:
        """Reset all connections."""
        while self._open:
            _reset(self._open.pop())

    def close(self) -> None:
        self.fault = "close"  # else the threads of answers that are held back would hold them for good
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def _accept(self) -> None:
        listener = self._listener
        with contextlib.suppress(OSError):
            while True:
                caller, _ = listener.accept()
                self.connections += 1
                self._open.append(caller)
                threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.target)) as server:
            threading.Thread(target=self._forward, args=(caller, server), daemon=True).start()
            while data := server.recv(1 << 16):
                self._answer(caller, data)
        with contextlib.suppress(OSError):
            caller.shutdown(socket.SHUT_RDWR)
        caller.close()

    def _forward(self, caller: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                while self.fault == "deaf":
                    time.sleep(0.01)
                if not (data := caller.recv(1 << 16)):
                    break
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _answer(self, caller: socket.socket, data: bytes) -> None:
        while self.fault in ("silence", "deaf"):
            time.sleep(0.01)
        if self.fault == "drip":
            for byte in data:
                caller.sendall(bytes([byte]))
                time.sleep(0.05)
        elif self.fault == "reset":
            _reset(caller)
            raise OSError
        elif self.fault == "close":
            raise OSError
        elif self.fault == "half":
            caller.sendall(data[: self.half])
            raise OSError
        else:
            caller.sendall(GARBAGE * (len(data) // len(GARBAGE) + 1) if self.fault == "garbage" else data)


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)  # the thread that reads from it would keep it open
        connection.close()


@contextlib.contextmanager
def faulty_proxy(target: int) -> Iterator[FaultyProxy]:
    """A proxy before the port `target`, as long as the block."""
    proxy = FaultyProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
