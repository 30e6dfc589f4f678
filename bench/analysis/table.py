"""What a table is: head, rows and caption as text, whoever shows it (terminal, HTML, Markdown, LaTeX). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

Tone = Literal["", "good", "bad"]


@dataclass(frozen=True)
class Column:
    """right: its cells are numbers; wraps: they are texts that may be broken."""

    name: str
    right: bool = False
    wraps: bool = False


@dataclass(frozen=True)
class TableCell:
    """Text, never markup of any kind. marked: spans of it that are highlighted, in order."""

    text: str
    bold: bool = False
    tone: Tone = ""
    marked: tuple[tuple[int, int], ...] = ()

    def parts(self) -> list[tuple[str, bool]]:
        """The text in pieces, each with whether it is highlighted."""
        edges = [0, *(edge for span in self.marked for edge in span), len(self.text)]
        pieces = (self.text[start:end] for start, end in pairwise(edges))
        return [(piece, bool(number % 2)) for number, piece in enumerate(pieces) if piece]


@dataclass(frozen=True)
class TableRow:
    """axes: the values of the suite's axes that the row is about, by which a reader may filter; section: a rule goes
    before it. A row of fewer cells than columns is filled up with empty ones."""

    cells: tuple[TableCell, ...]
    axes: Mapping[str, str] = field(default_factory=dict)
    section: bool = False


@dataclass(frozen=True)
class Table:
    title: str
    head: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    caption: str | None = None
    ruled: bool = False  # a rule after every row

    def with_rows(self, more: Sequence[TableRow]) -> Table:
        """The table with further rows below."""
        return replace(self, rows=(*self.rows, *more))


def texts(*names: str) -> tuple[Column, ...]:
    """Columns of short texts."""
    return tuple(Column(name) for name in names)


def numbers(*names: str) -> tuple[Column, ...]:
    """Columns of numbers, set to the right."""
    return tuple(Column(name, right=True) for name in names)


def row(*cells: str | TableCell, axes: Mapping[str, str] | None = None, section: bool = False) -> TableRow:
    """A row of texts and cells."""
    made = tuple(cell if isinstance(cell, TableCell) else TableCell(cell) for cell in cells)
    return TableRow(made, axes or {}, section)


def bold(text: str) -> TableCell:
    return TableCell(text, bold=True)


def interval(lo: float | None, hi: float | None, digits: int = 2) -> str:
    """A 95 % interval, "[1.23, 4.56]"; empty where there is none."""
    return "" if lo is None or hi is None else f"[{lo:.{digits}f}, {hi:.{digits}f}]"


def value_and_interval(value: float, lo: float | None, hi: float | None, digits: int = 2) -> str:
    """A value with its 95 % interval where it has one."""
    return f"{value:.{digits}f} {interval(lo, hi, digits)}".rstrip()
