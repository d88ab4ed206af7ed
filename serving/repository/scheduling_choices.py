"""How requests to a model wait, as the command line says it: the same flags for every command that publishes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from conch.contracts.errors import ConchError
from conch.contracts.scheduling import Scheduling
from serving.errors import ServingError


@dataclass(frozen=True, kw_only=True)
class SchedulingChoices:
    """How requests wait for their turn; docs/serving.md has what follows from it."""

    queue_size: int | None = None
    """The most requests that wait; one more is refused at once. 0: any number. Default: as many as are answered within
    half of the promised p99, as fast as the model runs here."""
    queue_timeout_ms: float | None = None
    """A request that has waited longer is refused. 0: it waits for ever. Default: four times the promised p99."""
    priorities: int = 0
    """Levels of priority that requests may have, 1 the first to be run. Default: none."""
    default_priority: int | None = None
    """The level of a request that names none. Default: the last."""
    resource: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME=UNITS")] = ()
    """What an instance needs while it runs, of units that all models of a server share. Once for each."""
    turn: int | None = None
    """Of instances that wait for the same resource, one of turn 1 runs twice as often as one of turn 2."""

    @property
    def scheduling(self) -> Scheduling:
        """What was asked for.

        Raises:
            ServingError: it cannot be followed; the message says what is allowed.
        """
        try:
            return Scheduling(
                self.queue_size,
                self.queue_timeout_ms,
                self.priorities,
                self.default_priority,
                resources_of(self.resource),
                self.turn,
            )
        except ConchError as error:
            raise ServingError(str(error)) from error


def resources_of(words: Sequence[str]) -> dict[str, int]:
    """Units by name, of NAME=UNITS.

    Raises:
        ServingError: A word is something else.
    """
    found = {}
    for word in words:
        name, separator, units = word.rpartition("=")
        if not (separator and name and units.isdecimal() and int(units)):
            raise ServingError(f"--resource {word}: expected NAME=UNITS, with 1 unit or more, as memory=1")
        found[name] = int(units)
    return found
