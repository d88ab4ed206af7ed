"""How much one caller, and all of them, may ask of a guarded server."""

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """The guard's bounds; each refusal names the one that was passed."""

    body: int = 16 * MIB
    """Bytes of a request over HTTP, and of a message over gRPC."""
    json: int = 2 * MIB
    """Bytes of JSON in a request: all of it, or what stands before binary tensors. Parsing costs time and memory."""
    rate: int = 1000
    """Requests a second from one address; twice as many may come at once."""
    connections: int = 64
    """Requests under way from one address."""
    requests: int = 256
    """Requests under way in all."""
    health: int = 20
    """Of health, which is asked without a token, a second from one address; five times as many may come at once."""
    idle: int = 60
    """Seconds after which a connection without requests is closed; a stream's may be idle ten times as long."""
    slow: int = 10
    """Seconds between two pieces of a request, or of an answer that is being taken."""
