"""What may stand where the cursor is."""

import contextlib
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conch import PROJECT
from conch.completion.flags import specification

FILES = ":files"
"""The line by which a script completes files as its shell does."""

MODELS, NOTHING = "models", "nothing"
POSITIONAL: dict[str, tuple[str, ...]] = {
    "call infer": (MODELS, NOTHING),
    "call watch": (MODELS,),
    "call complete": (NOTHING,),
    "call translate": (NOTHING,),
    "load run": (MODELS, NOTHING),
    "load init": (MODELS, NOTHING),
    "load capacity": (MODELS, NOTHING),
    "load profile": (MODELS, NOTHING),
    "load soak": (MODELS, NOTHING),
    "size": (MODELS, NOTHING),
    "report score": (MODELS, NOTHING),
    "rollout": (MODELS, NOTHING),
    "rollback": (MODELS, NOTHING),
    "history": (MODELS, NOTHING),
    "tune": (MODELS, NOTHING),
    "status": (NOTHING,),
    "down": (NOTHING,),
    "completion": (NOTHING,),
    "report": (NOTHING,),
    "page": (NOTHING,),
}
"""What the words of a command are that follow no flag, the last kind again and again; of all others, files."""

RECIPES = sorted(file.stem for file in (PROJECT / "training" / "recipes").rglob("[!_]*.py"))
WORDS: dict[str, tuple[str, ...]] = {
    "train": (*RECIPES, "all", "networks", "list"),
    "export": (*RECIPES, "all", "networks", "module", "pretrained", "explain"),
    "export explain": tuple(RECIPES),
    "check": tuple(RECIPES),
    "report": ("score", "samples"),
    "load run": ("all",),
    "report score": ("all", "networks"),
    "completion": ("bash", "zsh", "fish"),
}
"""Words that may stand there as well, and that a parser does not know."""

OWN_PARSER = {
    "train": (*RECIPES, "list"),
    "export": ("module", "pretrained", "explain"),
    "report": ("score", "samples"),
}
"""First words behind a verb that have a parser of their own."""

FILE_FLAGS = ("--input", "--output")
"""Whose values end in a file's name, behind NAME=."""

SERVER_TIMEOUT_S = 1.0


@dataclass
class Place:
    """Where a line has come to: in which command, behind how many of its own words, and behind which option."""

    command: str
    options: Sequence[Mapping[str, Any]]
    subcommands: Mapping[str, Any]
    known: bool
    said: dict[str, str] = field(default_factory=dict)
    """The values of options before."""
    taken: int = 0
    waiting: str = ""
    """An option whose value comes next."""

    def takes_value(self, flag: str) -> bool:
        """Whether an option of this command does; one that is not known does not."""
        return any(flag in one["flags"] and one["type"] not in ("flag", "boolean") for one in self.options)


def print_candidates(shell: str, words: Sequence[str]) -> None:
    """A line for each that begins as the last of `words` does: it, a tab, and what it means.

    The words are those behind `conch`. Of bash it is the whole line up to the cursor in one word, for bash splits at
    `=` and `:`; what is printed then replaces the part behind those.
    """
    *before, word = _split(words[0])[1:] if shell == "bash" else words
    cut = max(word.rfind("="), word.rfind(":")) + 1 if shell == "bash" else 0
    for candidate, meaning in candidates(before, word):
        sys.stdout.write(f"{candidate if candidate == FILES else candidate[cut:]}\t{meaning}".rstrip("\t") + "\n")


def candidates(before: Sequence[str], word: str) -> Iterator[tuple[str, str]]:
    """What begins with `word`, behind the words `before`; each with its meaning, where that is known."""
    for candidate, meaning in _offered(before, word):
        if candidate == FILES or candidate.startswith(word):
            yield candidate, meaning


def _offered(before: Sequence[str], word: str) -> Iterator[tuple[str, str]]:
    from conch.__main__ import VERBS

    if not before or before[0] not in VERBS:
        yield from ((verb, "") for verb in (*VERBS, "--help", "--version") if not before)
        return
    place = _place(before)
    flag, separator, _ = word.partition("=")
    if place.waiting:
        yield from ((value, "") for value in _values(place, place.waiting))
    elif separator and place.takes_value(flag):
        yield from ((value if value == FILES else f"{flag}={value}", "") for value in _values(place, flag))
    elif word.startswith("-"):
        for option in place.options:
            yield from ((flag, " ".join(option["description"].split())) for flag in option["flags"])
    elif place.subcommands:
        yield from ((name, "") for name in place.subcommands)
    else:
        yield from ((value, "") for value in _positional(place))


def _place(before: Sequence[str]) -> Place:
    verb, *behind = before
    command = [verb]
    if behind and behind[0] in OWN_PARSER.get(verb, ()):
        command.append(behind.pop(0))
    found = specification(command)
    place = _at(" ".join(command), found or {}, known=found is not None)
    for word in behind:
        flag, separator, value = word.partition("=")
        if place.waiting:
            place.said[place.waiting] = word
            place.waiting = ""
        elif word in place.subcommands:
            place = _at(f"{place.command} {word}", place.subcommands[word], place.known)
        elif separator and place.takes_value(flag):
            place.said[flag] = value
        elif place.takes_value(word):
            place.waiting = word
        elif word == "-" or not word.startswith("-"):
            place.taken += 1
    return place


def _at(command: str, found: Mapping[str, Any], known: bool) -> Place:
    return Place(command, found.get("options", []), found.get("subcommands", {}), known)


def _values(place: Place, flag: str) -> Iterator[str]:
    (option,) = (one for one in place.options if flag in one["flags"])
    if "choices" in option:
        yield from (choice for choice in option["choices"] if choice != "None")
    elif flag == "--model":
        yield from _served_models(place)
    elif "PATH" in option["description"].partition(" • ")[0] or flag in FILE_FLAGS:
        yield FILES


def _positional(place: Place) -> Iterator[str]:
    if place.taken == 0:
        yield from WORDS.get(place.command, ())
    kinds = POSITIONAL.get(place.command, (FILES,) if place.known else (NOTHING,))
    kind = kinds[min(place.taken, len(kinds) - 1)]
    if kind == FILES:
        yield FILES
    elif kind == MODELS:
        yield from _served_models(place)


def _served_models(place: Place) -> list[str]:
    """Of the server that the line names, or that of the environment; none where none answers."""
    from clients import ClientError, connect

    url, protocol = place.said.get("--url"), place.said.get("--protocol")
    files = {name: place.said.get(f"--{name}") for name in ("ca", "certificate", "key")}
    token = Path(file) if (file := place.said.get("--token-file")) else place.said.get("--token")
    try:
        # As it was typed.
        with connect(url, protocol, SERVER_TIMEOUT_S, token=token, **files) as client:  # type: ignore[arg-type]
            return sorted({model.name for model in client.models()})
    except ClientError:
        return []


def _split(line: str) -> list[str]:
    """The words of a line that may be unfinished, the last one that at its end."""
    for closing in ("", "'", '"'):
        with contextlib.suppress(ValueError):
            words = shlex.split(line + closing)
            return [*words, ""] if line[-1:].isspace() and not closing else words
    return line.split(" ")
