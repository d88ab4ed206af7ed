"""Where all commands print: tables that lose nothing, however narrow the terminal, and plain lines where there is none.

`conch.command_line` gives it to the rest of the kit.
"""

import json
import math
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from rich.console import Console, ConsoleDimensions
from rich.measure import Measurement
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # else gRPC's core writes lines of its own between those of a command

ENDLESS = 1_000_000
"""Columns of what is no terminal: a file or another program has no edge to cut a line at."""
GAP = "  "


class Terminal(Console):
    """A rich console that decides how a table is shown.

    On a terminal: as it is where it fits, else with its longer cells over several lines, and where even the words are
    too long for that, each row as a paragraph of names and values. Elsewhere: a line a row, without a frame.
    """

    @property
    def size(self) -> ConsoleDimensions:
        """The terminal's; endless where there is none, whatever COLUMNS says."""
        return super().size if self.file.isatty() else ConsoleDimensions(ENDLESS, 25)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size

    def print(self, *objects: Any, **options: Any) -> None:
        """As of `Console`."""
        super().print(*map(self.whole, objects), **options)

    def whole(self, shown: Any) -> Any:
        """`shown` in a form of which nothing is cut."""
        if isinstance(shown, Table):
            return self._fitted(shown) if self.file.isatty() else _lines(shown, self._rows(shown))
        if isinstance(shown, Syntax) and not self.file.isatty():
            return Text(shown.code.rstrip("\n"))  # Syntax fills each line up to the edge
        return shown

    def _rows(self, table: Table) -> list[list[Text]]:
        """The cells by row, the heads first."""
        columns = [[column.header, *column.cells] for column in table.columns]
        return [[self._text(cell) for cell in row] for row in zip(*columns, strict=True)]

    def _text(self, cell: Any) -> Text:
        return cell if isinstance(cell, Text) else self.render_str(str(cell), highlight=False)

    def _fitted(self, table: Table) -> Table | Text:
        rows = self._rows(table)
        longest = [max(_longest_line(cell) for cell in cells) for cells in zip(*rows, strict=True)]
        frame = Measurement.get(self, self.options.update_width(ENDLESS), table).maximum - sum(longest)
        free = self.width - frame
        if sum(longest) <= free:
            return table
        least = [
            longest[place] if table.columns[place].no_wrap else max(_longest_word(cell) for cell in cells)
            for place, cells in enumerate(zip(*rows, strict=True))
        ]
        if sum(least) > free:
            return self._paragraphs(table, rows)
        for column, low, high in zip(table.columns, least, longest, strict=True):
            column.width = low + (free - sum(least)) * (high - low) // (sum(longest) - sum(least))
        return table

    def _paragraphs(self, table: Table, rows: list[list[Text]]) -> Text:
        """The first cell of each row, and below it the others, as many to a line as fit; each after its name."""
        heads, *rows = rows
        lines = [Text(f"{table.title}", "italic")] if table.title else []
        for first, *cells in rows:
            lines += _pair(heads[0], first).wrap(self, self.width)
            line = Text()
            for head, cell in zip(heads[1:], cells, strict=True):
                if not cell.plain:
                    continue
                pair = _pair(head, cell)
                if line and len(line) + len(GAP) + len(pair) > self.width - len(GAP):
                    lines += _indented(line, self)
                    line = Text()
                line = Text(GAP).join([line, pair]) if line else pair
            lines += _indented(line, self) if line else []
        return Text("\n").join(lines)


def say(text: str) -> None:
    """A line on standard error, as it is."""
    Terminal(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any, file: TextIO | None = None, indent: int | None = 2) -> None:
    """Write `value` as one JSON document, with null for NaN and infinities, which JSON has not.

    Args:
        value: what `json.dumps` takes; what it does not, as bytes that are no text, is written as Python shows it.
        file: the standard output without.
        indent: None for one line.
    """
    (file or sys.stdout).write(json.dumps(_finite(value), indent=indent, allow_nan=False, default=str) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(table: Table, rows: list[list[Text]]) -> Text:
    """A line a row, the columns below each other."""
    if not table.show_header:
        rows = rows[1:]
    rows = [[_on_one_line(cell) for cell in row] for row in rows]
    widths = [max(cell.cell_len for cell in cells) for cells in zip(*rows, strict=True)]
    lines = [Text(f"{table.title}")] if table.title else []
    for row in rows:
        for cell, width, column in zip(row, widths, table.columns, strict=True):
            cell.align("right" if column.justify == "right" else "left", width)
        line = Text(GAP).join(row)
        line.rstrip()
        lines.append(line)
    return Text("\n").join(lines)


def _indented(text: Text, console: Console) -> list[Text]:
    lines = text.wrap(console, console.width - len(GAP))
    for line in lines:
        line.rstrip()
    return [Text(GAP).append_text(line) for line in lines]


def _pair(head: Text, cell: Text) -> Text:
    name = f"{_on_one_line(head)}: " if head.plain else ""
    return Text.assemble((name, "dim"), _on_one_line(cell))


def _on_one_line(cell: Text) -> Text:
    lines = cell.split("\n")
    for line in lines[1:]:
        line.plain = line.plain.lstrip()  # an array's rows are indented
    return Text(", ").join(lines)


def _longest_line(cell: Text) -> int:
    return max((line.cell_len for line in cell.split("\n")), default=0)


def _longest_word(cell: Text) -> int:
    return max((Text(word).cell_len for word in cell.plain.split()), default=0)
