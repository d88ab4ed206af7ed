"""Where in config.pbtxt the field is that a finding is about: protobuf's text parser keeps no lines."""

import re
from collections.abc import Iterator

_TOKEN = re.compile(r"""#[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[^\s"'#\[\]{}<>:;,]+|[\[\]{}<>]""")
_STEP = re.compile(r"([\w ]+?)(?: '([^']*)')?(?:\.|$)")
_OPEN, _CLOSE = ("[", "{", "<"), ("]", "}", ">")

Span = tuple[int, int]
"""From one token to before another."""


def line_of(text: str, field: str) -> int | None:
    """The line, from 1, of the last part of `field` that is in the text; None where not even its first is.

    Args:
        text: A ModelConfig in protobuf's text format.
        field: As findings name it: `dynamic_batching.preferred_batch_size`, `output 'y'.dims`, `parameters 'key'`.

    Source: protobuf.dev, "Text Format Language Specification".
    """
    tokens = [(found[0].replace("'", '"'), found.start()) for found in _TOKEN.finditer(text) if found[0][0] != "#"]
    words = [word for word, _ in tokens]
    span, at = (0, len(tokens)), None
    for words_of_step, quoted in _STEP.findall(field):
        for found in _find(words, span, words_of_step.split()[-1], quoted):
            at, span = found
            break
        else:
            break
    return None if at is None else text.count("\n", 0, tokens[at][1]) + 1


def _find(words: list[str], span: Span, name: str, quoted: str) -> Iterator[tuple[int, Span]]:
    """Each place of `name` within, or of `quoted` in what belongs to `name`; with what belongs to it."""
    for place in range(*span):
        if words[place] not in (name, f"{name}s"):
            continue
        for block in _blocks(words, place + 1, span[1]):
            if not quoted:
                yield place, block
            elif f'"{quoted}"' in words[slice(*block)]:
                yield words.index(f'"{quoted}"', *block), block


def _blocks(words: list[str], begin: int, end: int) -> list[Span]:
    """What follows a name: the message in its braces, each message of a list, or a value."""
    if begin >= end or words[begin] not in _OPEN:
        return [(begin, min(begin + 1, end))]
    closed = _closed(words, begin, end)
    if words[begin] != "[":
        return [(begin, closed)]
    inside, place = [], begin + 1
    while place < closed:
        after = _closed(words, place, closed) if words[place] in _OPEN else place + 1
        inside.append((place, after))
        place = after
    return inside or [(begin, closed)]


def _closed(words: list[str], begin: int, end: int) -> int:
    depth = 0
    for place in range(begin, end):
        depth += (words[place] in _OPEN) - (words[place] in _CLOSE)
        if not depth:
            return place + 1
    return end
