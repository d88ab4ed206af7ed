"""Addresses as a person gives them, and which of them are one place."""

from clients.address import is_loopback, resolve
from clients.errors import ClientError
from serving.errors import ServingError


def http_place(url: str) -> str:
    """ "host:port" of "http://host:port" or "host:port", with the base path where there is one.

    Raises:
        ServingError: It is no address, or one of gRPC.
    """
    try:
        return resolve(url, "http").target
    except ClientError as error:
        raise ServingError(str(error)) from error


def same_place(one: str, other: str) -> bool:
    """Whether two "host:port" are one: equal, or one port of this machine under two of its loopback names."""
    ports = {place.rpartition(":")[2] for place in (one, other)}
    return one == other or (len(ports) == 1 and is_loopback(one) and is_loopback(other))
