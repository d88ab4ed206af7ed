"""HTTP on urllib3's connections, each of which keeps to the deadline of the whole call.

Its pool and its timeouts are not used: a timeout of a socket is for each read, and a peer that drips a byte a second
never exceeds it. Here every read and write gets what is left of the call. Nor is its response, which makes a small call
a seventh slower and adds nothing here to that of http.client, on which it stands.
"""

import http.client
import io
import os
import socket
import ssl
from collections import deque
from typing import Any

from urllib3.connection import HTTPConnection
from urllib3.util import wait_for_read

from clients.address import Address
from clients.calls import Outcome, Sending
from clients.deadline import Deadline
from clients.errors import ClientError
from clients.transports import http_message, trust
from clients.transports.connecting import connected
from clients.transports.transport import Transport, UnderWay, broken, foreign, late, nobody

JOINED = 1 << 16
"""Bytes of a request up to which its pieces are copied into one."""


class HttpTransport(Transport):
    """Connections that are kept for the next request; each request has one to itself until its answer is read."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.context = context
        self.heard: set[Address] = set()
        """Servers that have answered."""
        self._process = os.getpid()
        self._idle: dict[Address, deque[_Connection]] = {}
        self._closed = False

    def begin(self, sending: Sending) -> "_Exchange":
        if os.getpid() != self._process:  # the parent's connections are its own: both would read the same answers
            self._process, self._idle = os.getpid(), {}
        return _Exchange(self, sending).begin()

    def close(self) -> None:
        self._closed = True
        for kept in self._idle.values():
            while kept:
                kept.pop().close()

    def take(self, address: Address) -> "_Connection":
        """A connection that is kept and whose server has not closed it, or a new one."""
        kept = self._idle.setdefault(address, deque())
        while kept:
            try:
                connection = kept.pop()
            except IndexError:  # another thread was first
                break
            if connection.is_connected:
                return connection
            connection.close()
        return _Connection.to(address, self.context)

    def give_back(self, address: Address, connection: "_Connection") -> None:
        """Keep `connection`, whose answer is read to its end."""
        if self._closed or connection.process != os.getpid():
            connection.close()
        elif connection.sock is not None:  # the server may have asked to close it
            self._idle.setdefault(address, deque()).append(connection)


class _Exchange(UnderWay):
    """One request and its answer. What goes wrong with it is kept until `finish`, which gives it as the outcome.

    A request that was not sent whole is not run.
    """

    def __init__(self, transport: HttpTransport, sending: Sending) -> None:
        self._transport, self._sending = transport, sending
        self._connection: _Connection | None = None
        self._failure: ClientError | None = None
        self._whole = True

    def begin(self) -> "_Exchange":
        """Send the request."""
        connection = None
        try:
            request = http_message.written(self._sending)
            connection = self._connection = self._transport.take(self._sending.address)
            connection.deadline = self._sending.deadline
            if connection.sock is None:
                self._connect(connection)
            connection.send_all(request)
        except ClientError as failure:
            self._fail(failure)
        except TimeoutError:
            self._fail(late(self._sending, not_run=True))
        except OSError:  # there may be an answer all the same: that the request is too large, say
            self._whole = False
        except BaseException:
            self.drop()
            raise
        return self

    def ready(self) -> bool:
        connection = self._connection
        return connection is None or connection.sock is None or wait_for_read(connection.sock, timeout=0)

    def finish(self) -> Outcome:
        connection = self._connection
        if self._failure is not None or connection is None:
            return self._failure
        try:
            response = connection.receive()
            json_length = http_message.json_length(response.headers.get(http_message.JSON_LENGTH))
            body = response.read(json_length)
            if len(body) < (json_length or 0) and response.length:
                raise http.client.IncompleteRead(body)
            tensors = response.read() if json_length is not None else b""
        except TimeoutError:
            return self._fail(late(self._sending))
        except http.client.RemoteDisconnected:
            return self._fail(self._broken("closed without an answer"))
        except http.client.IncompleteRead:
            return self._fail(broken(self._sending, "closed in the middle of an answer"))
        except ssl.SSLEOFError:
            return self._fail(self._broken("closed without an answer"))
        except ssl.SSLError as error:
            return self._fail(trust.distrust(self._sending, str(error)))
        except OSError as error:
            return self._fail(self._broken(error.strerror or error))
        except (http.client.HTTPException, ValueError, MemoryError, OverflowError):  # garbage, or an absurd length
            return self._fail(foreign(self._sending))
        except BaseException:
            self.drop()
            raise
        self._connection = None
        self._transport.heard.add(self._sending.address)
        if not self._whole or response.will_close:
            connection.close()
        self._transport.give_back(self._sending.address, connection)
        return http_message.read(self._sending, response.status, body, tensors)

    def drop(self) -> None:
        """Close the connection: what is left unread would be taken for the next answer."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self, connection: "_Connection") -> None:
        try:
            connection.connect()
        except TimeoutError as error:
            raise late(self._sending, not_run=True) from error
        except ssl.SSLEOFError:
            raise trust.mute(self._sending, "closed in the TLS handshake", not_run=True) from None
        except ssl.SSLError as error:
            raise trust.distrust(self._sending, str(error)) from error
        except OSError as error:
            raise nobody(self._sending, error.strerror or error) from error

    def _broken(self, reason: object) -> ClientError:
        """The connection broke before there was an answer."""
        say = broken if self._sending.address in self._transport.heard else trust.mute
        return say(self._sending, reason, not_run=not self._whole)

    def _fail(self, failure: ClientError) -> ClientError:
        self.drop()
        self._failure = failure
        return failure


class _Connection(HTTPConnection):
    """A connection of which every step ends with `deadline`, which is set for each request."""

    deadline: Deadline
    process: int
    context: ssl.SSLContext | None

    @classmethod
    def to(cls, address: Address, context: ssl.SSLContext | None = None) -> "_Connection":
        """One that is not connected yet."""
        host, port = address.host_port
        made = cls(host, port, blocksize=1 << 18)
        made.process = os.getpid()
        made.context = context if address.tls else None
        return made

    def send_all(self, request: http_message.HttpRequest) -> None:
        """Send `request`: head and body at once, for a server that got the head alone would be woken twice."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        pieces = [request.head(f"{host}:{self.port}"), request.body or b""]
        for piece in [b"".join(pieces)] if len(pieces[1]) < JOINED else pieces:
            # Not sendall, whose timeout begins anew with each part over TLS.
            view = memoryview(piece).cast("B")
            while view:
                self.sock.settimeout(self.deadline.timeout())
                view = view[self.sock.send(view) :]

    def receive(self) -> http.client.HTTPResponse:
        """The head of the answer, from which the rest can be read."""
        response = http.client.HTTPResponse(_Reader(self.sock, self.deadline))  # type: ignore[arg-type]
        response.begin()
        return response

    def _new_conn(self) -> socket.socket:
        return connected(self.host, self.port, self.deadline, self.context)


class _Reader(io.RawIOBase):
    """A socket to read from until the deadline, however often."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline
        self._file = sock.makefile("rb", buffering=0)  # it keeps a socket open that http.client closes early

    def makefile(self, mode: str) -> io.BufferedReader:
        """As a socket's, for http.client."""
        return io.BufferedReader(self, 1 << 14)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._deadline.timeout())
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()
