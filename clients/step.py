"""A request's place in a sequence: below the client, both transports and the sequence itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A request's place in its sequence; `id`, a number or a text, is Triton's correlation id."""

    id: int | str
    start: bool
    end: bool
