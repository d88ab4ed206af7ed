"""How requests to a model wait for their turn: how many, how long, which first, and what its instances share.

Source: triton-inference-server/server docs/user_guide/batcher.md (queue policies, priorities), docs/user_guide/
rate_limiter.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from conch.contracts.errors import ConchError

MOST = 2**31 - 1


@dataclass(frozen=True)
class Scheduling:
    """What a recipe, or a command line, says of it; what it leaves out follows from the model's promise and speed."""

    queue_size: int | None = None
    """The most requests that wait; one more is refused at once. 0: any number. None: as many as are answered within
    half of the promised p99."""
    queue_timeout_ms: float | None = None
    """A request that has waited longer is refused. 0: it waits for ever. None: a multiple of the promised p99."""
    priorities: int = 0
    """Levels of priority that a request may have, 1 the first to be run; each has a queue of its own. 0: none."""
    default_priority: int | None = None
    """The level of a request that names none. None: the last."""
    resources: Mapping[str, int] = field(default_factory=dict)
    """What an instance needs while it runs, by name: units that all models of a server share. A server has as many of
    each as the instance that needs the most, unless it is started with more."""
    turn: int | None = None
    """Of instances that wait for the same resource, one of turn 1 runs twice as often as one of turn 2, and so on."""

    def __post_init__(self) -> None:
        """Refuse what no server could follow.

        Raises:
            ConchError: what was got, and what is allowed.
        """
        if self.queue_size is not None and not 0 <= self.queue_size <= MOST:
            raise ConchError(f"queue size {self.queue_size}: allowed are 0, which bounds nothing, and more")
        if self.queue_timeout_ms is not None and not 0 <= self.queue_timeout_ms < float("inf"):
            raise ConchError(f"queue timeout {self.queue_timeout_ms:g} ms: allowed are 0, which is never, and more")
        if not 0 <= self.priorities <= MOST:
            raise ConchError(f"{self.priorities} priorities: allowed are 0, which is none, and more")
        level = self.default_priority
        if level is not None and not 1 <= level <= self.priorities:
            allowed = f"1 to {self.priorities}" if self.priorities else "none, for there are no priorities"
            raise ConchError(f"default priority {level}: allowed are {allowed}")
        for name, count in self.resources.items():
            if not name or not 1 <= count <= MOST:
                raise ConchError(f"resource {name!r}, {count} units: it needs a name, and 1 or more")
        if self.turn is not None and not (self.resources and 1 <= self.turn <= MOST):
            reason = "without a resource nobody waits for a turn" if not self.resources else "allowed are 1 and more"
            raise ConchError(f"turn {self.turn}: {reason}")

    @property
    def needs_queue(self) -> bool:
        """Whether it says something of the queue, which a model with states has not."""
        return bool(self.queue_size or self.queue_timeout_ms or self.priorities)
