"""What a running server says of itself and of its models, asked before a load begins."""

from typing import Any

from clients.access import Access
from clients.address import Address
from clients.errors import ClientError, Refused, Unreachable, WrongCertificate
from loadtest.errors import CannotRun

PATIENCE_S = 5.0


def served_versions(address: Address, access: Access = Access()) -> dict[str, list[str]]:  # noqa: B008  # frozen
    """The versions of every model that is ready, by model. Raises CannotRun."""
    versions: dict[str, list[str]] = {}
    for entry in _asked(address, access, "models"):
        if entry.state == "READY":
            versions.setdefault(entry.name, []).append(entry.version)
    return versions


def server_version(address: Address, access: Access) -> str:
    """What the server says it is, name and version. Raises CannotRun."""
    return " ".join(_asked(address, access, "server"))


def served_config(address: Address, access: Access, model: str) -> dict[str, Any]:
    """The configuration of a model as the server has it. Raises CannotRun."""
    config: dict[str, Any] = _asked(address, access, "configuration", model)
    return config


def check_access(address: Address, access: Access) -> None:
    """Raises CannotRun where the server does not let this process in, or is not to be trusted; of one that does not
    answer at all the run itself will show it."""
    try:
        with access.connect(str(address), timeout=PATIENCE_S, attempts=1) as client:
            client.models()
    except (WrongCertificate, Refused) as error:
        raise CannotRun(str(error)) from error
    except Unreachable:
        return
    except ClientError as error:  # a file or a token that cannot be used
        raise CannotRun(str(error)) from error


def _asked(address: Address, access: Access, question: str, *of: str) -> Any:
    try:
        with access.connect(str(address), timeout=PATIENCE_S, attempts=1) as client:
            return getattr(client, question)(*of)
    except ClientError as error:
        raise CannotRun(str(error)) from error
