"""What happens to a server, told once, to whoever listens: a person, a log collector, the supervisor's metrics.

```python
emit("server_restarted", f"tritonserver {reason}; it serves again", level="warning", reason=reason, seconds=1.2)
emit("model_not_loaded", failure(state), level="error", model=state.name, version=state.version, reason=state.reason)
```

Whoever finds that something happened emits it, from any thread, and knows nothing of the listeners. Without one nothing
is said: a `Server` of a test or a program of somebody else's prints nothing. `docs/operations.md` lists the events.
"""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from conch.command_line import ERR, print_json

Level = Literal["info", "warning", "error"]
LogFormat = Literal["text", "json"]


@dataclass(frozen=True)
class Event:
    """Something that happened."""

    time: str
    """UTC, ISO 8601, in milliseconds."""
    event: str
    """What, in the past and in lower case with underscores: `server_restarted`."""
    level: Level
    message: str
    """The same for a person, in one line."""
    model: str | None = None
    version: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    """What else is known, by name; what JSON has no form for is written as `str` gives it."""


Listener = Callable[[Event], None]
_listeners: list[Listener] = []
_one_at_a_time = threading.RLock()


def emit(
    event: str,
    message: str = "",
    *,
    level: Level = "info",
    model: str | None = None,
    version: int | str | None = None,
    **fields: Any,
) -> None:
    """Tell every listener, in the order in which they began to listen; returns when all have it. Raises nothing.

    Args:
        event: What happened, for programs; a name once given is kept.
        message: The same for a person, in one line. Without it the name and the fields are shown.
        level: `info` where all is well, `warning` where the server has helped itself, `error` where somebody has to.
        model: The model that it happened to, where it is one.
        version: Its version; what is no number, as Triton's "-", is none.
        fields: What else is known.
    """
    known = ", ".join(f"{name}={value}" for name, value in fields.items())
    said = Event(
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        event=event,
        level=level,
        message=" ".join((message or f"{event.replace('_', ' ')}{f': {known}' if known else ''}").split()),
        model=model,
        version=int(version) if version is not None and str(version).isdecimal() else None,
        fields=fields,
    )
    with _one_at_a_time:  # lines of two threads are not mixed
        for listener in tuple(_listeners):
            listener(said)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have `listener` called with each event of this process within the block; it must not raise."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def writer(log_format: LogFormat, screen: Console) -> Listener:
    """What writes a line an event, as `conch serve --log-format` says.

    Args:
        log_format: `text` for a person: what is well goes to `screen`, what is not to standard error. `json`: one
            object a line with the names of `Event`, to standard error.
    """

    def as_text(event: Event) -> None:
        if event.level == "info":
            screen.print(escape(event.message), style="dim", highlight=False)
        else:
            colour = "red" if event.level == "error" else "yellow"
            ERR.print(f"[{colour}]{event.level}:[/] {escape(event.message)}")

    def as_json(event: Event) -> None:
        print_json(asdict(event), sys.stderr, indent=None)
        sys.stderr.flush()

    write = as_json if log_format == "json" else as_text

    def survive(event: Event) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more: what serves goes on
            write(event)

    return survive
