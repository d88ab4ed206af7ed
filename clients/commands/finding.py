"""Find the model that a command is meant for by what models take and give."""

from collections.abc import Callable

from clients.client import Client
from clients.commands.exit_codes import BadCommand
from clients.errors import ClientError
from clients.signature import Metadata


def find_model(client: Client, named: str | None, needs: str, fits: Callable[[Metadata], object]) -> str:
    """The model that is named, or the only one on the server that fits.

    Args:
        client: of the server.
        named: by the user, where he named one.
        needs: what such a model takes and gives, for a message.
        fits: what tells it by its metadata; it raises WrongKind where it is none.

    Raises:
        BadCommand: none fits, or several do.
        WrongKind: the named one does not.
    """
    if named is not None:
        fits(client.metadata(named))
        return named
    found = [name for name in sorted({state.name for state in client.models()}) if _fits(client, name, fits)]
    if len(found) != 1:
        which = f"{', '.join(found)} fit" if found else "none fits"
        raise BadCommand(f"--model is needed: of the server's models {which}; needed is one with {needs}")
    return found[0]


def _fits(client: Client, name: str, fits: Callable[[Metadata], object]) -> bool:
    try:
        fits(client.metadata(name))
    except ClientError:  # of another kind, or not ready
        return False
    return True
