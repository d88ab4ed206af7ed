"""Sockets that are connected by a deadline, with TLS where that is asked for."""

import socket
import ssl

from clients.deadline import Deadline


def connected(host: str, port: int, deadline: Deadline, context: ssl.SSLContext | None = None) -> socket.socket:
    """A connection to the first address of `host` that takes one; each gets its share of the time that is left.

    Raises TimeoutError, ssl.SSLError where the address has no trustworthy TLS, and else OSError.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError = OSError("the name has no address")
    for number, (family, kind, protocol, _, place) in enumerate(found):
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(deadline.timeout() / (len(found) - number))
            made.connect(place)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is None:
                return made
            made.settimeout(deadline.timeout())  # of the whole handshake
            return context.wrap_socket(made, server_hostname=host)
        except BaseException as error:
            made.close()
            if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
                raise
            failure = error
    raise failure
