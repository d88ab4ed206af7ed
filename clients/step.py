"""A request's place in a sequence: below the client, the transports and the sequence itself."""

from dataclasses import dataclass, field


@dataclass
class Route:
    """Where a sequence is kept: its requests all go to the server, and the version, that its first one went to."""

    endpoint: int | None = None
    version: str = ""
    """The one that answered the first request; empty before."""
    model: str = ""
    """The name under which that is served, where it is on trial (`clients.trials`)."""


@dataclass(frozen=True)
class Step:
    """A request's place in its sequence; `id`, a number or a text, is Triton's correlation id."""

    id: int | str
    start: bool
    end: bool
    route: Route = field(default_factory=Route, compare=False)
