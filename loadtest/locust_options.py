"""Plain Locust's flags of a load, made from those of `conch load run`: each is declared once, with its help."""

import dataclasses
from argparse import _ArgumentGroup
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import docstring_parser

from clients.access import Access
from loadtest.target import ModelLoad

# Of Locust's own making: its users, how long it runs, which of them speak what, and what is printed.
LOCUSTS_OWN = ("users", "duration", "protocol", "url", "metrics", "json", "access")
# What means another thing to plain Locust, which sends to one model and asks no promise for its rate: default and help.
OTHERWISE: dict[str, tuple[Any, str]] = {
    "model": ("cnn", "The model to send to."),
    "rate": (50.0, "Requests a second, for all users and workers together."),
}


def add_load_options(group: _ArgumentGroup) -> None:
    """Add a flag for each field of `ModelLoad` that is not Locust's own, those of `Access`, and the two that only a
    master judges by."""
    for name, kind, default, text in (*_fields(ModelLoad), *_fields(Access)):
        if kind is bool:
            group.add_argument(f"--{name.replace('_', '-')}", action="store_true", help=text)
            continue
        choices = get_args(kind) if get_args(kind) and all(isinstance(one, str) for one in get_args(kind)) else None
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=next((number for number in (int, float) if kind in (number, number | None)), str),
            choices=choices,
            default="" if default is None else str(default) if isinstance(default, Path) else default,
            help=text.replace("%", "%%"),
        )
    group.add_argument("--in-time-ms", type=float, help="Goodput counts answers up to this response time")
    group.add_argument("--results", default="", help="A folder that gets run.json at the end, in place of what it has")


def take_access(options: Any) -> Access:
    """What lets this process in, taken out of Locust's options: a master sends those to its workers."""
    given = {field.name: vars(options).pop(field.name) for field in dataclasses.fields(Access)}
    paths = {name: Path(value) for name, value in given.items() if value and name not in ("token", "plain_text")}
    return Access(token=given["token"] or None, plain_text=given["plain_text"], **paths)


def _fields(flags: type) -> Iterator[tuple[str, Any, Any, str]]:
    """Name, type, default and help of each field of a class of flags."""
    kinds = get_type_hints(flags)
    texts: dict[str, str] = {}
    for owner in reversed(flags.__mro__[:-1]):
        found = docstring_parser.parse_from_object(owner).params
        texts |= {entry.arg_name: " ".join((entry.description or "").split()) for entry in found}
    for field in dataclasses.fields(flags):
        if field.name in LOCUSTS_OWN:
            continue
        made = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        default, text = OTHERWISE.get(field.name, (made, texts[field.name]))
        yield field.name, kinds[field.name], default, text
