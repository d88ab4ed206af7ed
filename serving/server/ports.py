"""TCP ports of a server: free ones are picked, taken ones are named."""

import contextlib
import ipaddress
import socket
from collections.abc import Collection
from pathlib import Path

from serving.errors import ServingError

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


def reserve(host: str, wanted: dict[str, int]) -> dict[str, int]:
    """A free port for each service: the wanted one, or any where 0 is wanted.

    Args:
        host: The address the server will bind to.
        wanted: Service ("HTTP") -> port, 0 for any.

    Raises:
        ServingError: A port is taken or cannot be bound; the text names it and the service.
    """
    ports: dict[str, int] = {}
    with contextlib.ExitStack() as sockets:  # all are held until each has one, so that no two get the same
        for service, port in wanted.items():
            holder = sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            # As servers do: a port whose last connections are still closing is free.
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                holder.bind((host, port))
                holder.listen()  # on Linux two sockets may bind to one port with SO_REUSEADDR, but only one can listen
            except OverflowError:
                raise ServingError(
                    f"port {port} for {service} is no port, allowed are 0 (any free one) to 65535"
                ) from None
            except OSError as error:
                flag = f"--{service.lower()}-port"
                raise ServingError(
                    f"port {port} on {host} for {service} cannot be used ({error.strerror}): "
                    f"stop what holds it, or choose another with {flag} (0 picks a free one)"
                ) from error
            ports[service] = holder.getsockname()[1]
    return ports


def unsent(ports: Collection[int]) -> bool:
    """Whether a connection to one of these ports of this machine has bytes that its other side has not taken yet.

    Source: Linux Documentation/networking/proc_net_tcp.rst (tx_queue).
    """
    for table in TABLES:
        with contextlib.suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                _, local, _, _, queues, *_ = line.split()
                if int(local.rpartition(":")[2], 16) in ports and int(queues.partition(":")[0], 16):
                    return True
    return False


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that binds to `host`."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
