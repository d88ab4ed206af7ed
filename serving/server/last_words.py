"""What Triton's log says of a death: the words that name a cause, and not those of every start without a GPU."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from serving.server.stubs import how_ended

NO_CAUSE = (
    "CudaDriverHelper has not been initialized",  # of every start on a machine without a GPU
    "failed to load all models",  # each has a line of its own
    "failed to stop server: Internal - Exit timeout expired",
)
"""Errors in its log that are none, or that say nothing themselves."""

_LINE = re.compile(r"([IWEF])\d{4} [\d:.]+ +\d+ \S+?\] +(.*)")
_FATAL = re.compile(
    "|".join(
        (
            r"^terminate called after throwing an instance of '(.*?)'(?:\n +what\(\): +(.*))?",
            r"^(Fatal Python error: .*)",
            r"^.*(error while loading shared libraries: .*)",
            r"^((?:ba)?sh: .*)",
            r"^\[libprotobuf FATAL [^]]*\] (.*)",
            r"^F\d{4} .*?\] (.*)",
            r"^error: (.*)",
        )
    ),
    re.MULTILINE,
)
"""What a process of the server says without Triton's log around it, when it dies."""
_ENSEMBLE = re.compile(r"Invalid argument: ensemble '?(\S+?)'? ((?:depends on|contains) .+?)(?:\. Model .*)?")
"""What Triton says of an ensemble without one of its models; why that is not there is said of it itself."""
_FRAME = re.compile(r"^ *\d+# (.+) in (/\S+)$", re.MULTILINE)
_SYSTEM = re.compile(r"lib(c|stdc\+\+|gcc_s|m|pthread)\.so|ld-")
"""Libraries that only carry out what others ask for."""


def server_end(code: int, log: str, starved: bool = False) -> str:
    """How a server ended, and its last words about why, in one line.

    Args:
        code: The exit code, -n for the signal n.
        log: Triton's log.
        starved: Whether the kernel has killed a process for want of memory meanwhile.
    """
    words = fatal_words(_tail(log)) or (_last_error(log) if code > 0 else _error_at_the_end(log))
    if not words and code >= 0 and (asked := re.findall(r"^Signal \((\d+)\) received\.", log, re.MULTILINE)):
        words = f"it was sent signal {asked[-1]}"
    return f"{how_ended(code, starved)}{_where(_tail(log)) if code < 0 else ''}{': ' if words else ''}{words}"


def _where(log: str) -> str:
    """Which program or library crashed, by the stack that Triton writes; "" where there is none, or it does not say."""
    frames = [(found[1], Path(found[2]).name) for found in _FRAME.finditer(log.rpartition("Signal (")[2])]
    handler = next((number for number, (_, file) in enumerate(frames) if _SYSTEM.match(file)), len(frames))
    for symbol, file in frames[handler:]:
        if not _SYSTEM.match(file):
            return f" in {file}{'' if symbol.startswith('0x') else f' ({symbol})'}"
    return ""


def fatal_words(log: str) -> str:
    """The last line that a dying process has written of its own accord, "" where there is none."""
    words = [": ".join(group for group in found.groups() if group) for found in _FATAL.finditer(log)]
    return words[-1].strip() if words else ""


def load_failures(log: str) -> dict[str, str]:
    """Model -> why Triton did not even try to load it: what its repository index leaves out."""
    failures, parser = {}, ""
    for line in log.splitlines():
        if found := re.match(r"\[libprotobuf ERROR [^]]*\] Error parsing text-format [\w.]+: (.*)", line):
            parser = f" ({found[1]})"
        elif (said := _said(line)) and (
            found := re.match(r"(?:Poll failed for model directory|failed to load model) '(.*?)': (.*)", said[1])
        ):
            failures[found[1]] = found[2] + parser
            parser = ""
        elif said and (found := _ENSEMBLE.fullmatch(said[1])):
            failures[found[1]] = f"the ensemble {found[2]}"
    return failures


def unfinished(log: str) -> list[str]:
    """The models that Triton has begun to load, without saying how that ended."""
    begun = re.findall(r'"loading: (\S+):\d+"', log)
    done = re.findall(r"\"(?:successfully loaded|failed to load) '(.+?)'", log)
    return sorted(set(begun) - set(done))


def _tail(log: str) -> str:
    """The last line of Triton's own, and what comes after it: what is older need not be the cause."""
    begins = [line.start() for line in re.finditer(rf"^{_LINE.pattern}", log, re.MULTILINE)]
    return log[begins[-1] :] if begins else log


def _errors(log: str) -> Iterator[str]:
    for line in log.splitlines():
        if (said := _said(line)) and said[0] in "EF" and not any(noise in said[1] for noise in NO_CAUSE):
            yield said[1]


def _last_error(log: str) -> str:
    return (list(_errors(log)) or [""])[-1]


def _error_at_the_end(log: str) -> str:
    """An error after which nothing else came."""
    return _last_error(_tail(log))


def _said(line: str) -> tuple[str, str] | None:
    """Severity and text of a line of Triton's log."""
    if not (found := _LINE.match(line)):
        return None
    severity, text = found.groups()
    if text.startswith('"'):
        try:
            text = str(json.loads(text))
        except ValueError:
            text = text.strip('"')
    return severity, " ".join(text.partition("\n\nAt:")[0].split())
