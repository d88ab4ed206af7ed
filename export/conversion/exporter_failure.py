"""Why an exporter failed, in a sentence: its own messages are pages of advice with the reason somewhere in between."""

from __future__ import annotations

import re
import site
import sysconfig
import traceback

LONGEST = 400
"""Characters of a reason; all of it is in the details."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SUMMARY = re.compile(r"## Exception summary\s*\n(.*?)(?:\n\s*⬆️|\n\(Refer to the full stack trace|\Z)", re.DOTALL)
_CLASS = re.compile(r"^<class '(?:[\w.<>]*\.)?(\w+)'>: ")
_USER_CODE = re.compile(r'raised this error:\s*\n\s*File "([^"]+)", line (\d+), in (\w+)\n\s*(.+)')
# Behind the first paragraph comes advice: how to debug PyTorch, where to report, dumps of graphs.
_END = re.compile(r"\n\s*\n|\n\s*(Caused by|User code|Suggested fixes|Use tlparse|While executing):?")
_MORE = re.compile(r"For more information, run with \S+")


def reason(error: BaseException) -> str:
    """One line: what was raised, with which words, and where in the user's code."""
    text = _COLOUR.sub("", str(error))
    summary = _SUMMARY.search(text)
    deepest = _deepest(error)
    if summary:
        words = _CLASS.sub(lambda found: f"{found[1]}: ", summary[1].strip())
    else:
        words = _COLOUR.sub("", str(deepest)).strip()
        words = f"{type(deepest).__name__}: {words}" if words else type(deepest).__name__
    place = _place(text, deepest)
    words = " ".join(_MORE.sub("", _END.split(words, maxsplit=1)[0]).split()).rstrip(".:,; ")
    if len(words) > LONGEST:
        words = f"{words[:LONGEST].rsplit(' ', 1)[0]} ..."
    return f"{words} ({place})" if place else words


def details(error: BaseException, printed: str) -> str:
    """The whole traceback and all that the exporter printed, without colours."""
    told = "".join(traceback.format_exception(error))
    return _COLOUR.sub("", f"{told}\n{printed}" if printed else told)


def _deepest(error: BaseException) -> BaseException:
    seen = {id(error)}
    while (cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        if id(cause) in seen:
            break
        seen.add(id(cause))
        error = cause
    return error


def _place(text: str, deepest: BaseException) -> str:
    """File, line and code of the user's where it happened; "" where it happened in no file of theirs."""
    if found := _USER_CODE.search(text):
        return f"{found[1]}:{found[2]}: {found[4].strip()}"
    frames = [frame for frame in traceback.extract_tb(deepest.__traceback__) if not _is_library(frame.filename)]
    return f"{frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else ""


def _is_library(file: str) -> bool:
    libraries = (*site.getsitepackages(), sysconfig.get_paths()["stdlib"], str(__file__).rsplit("/", 2)[0], "<")
    return file.startswith(libraries)
