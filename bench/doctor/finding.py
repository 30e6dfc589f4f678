"""What `bench doctor` says of one thing, and the table of all. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gatebench.bench.analysis.table import Column, Table, TableCell, row

State = Literal["fine", "note", "broken"]


@dataclass(frozen=True)
class Finding:
    """state: "note" is worth knowing and stops nothing; "broken" is needed and does not work. advice: what to do."""

    what: str
    found: str
    state: State = "fine"
    advice: str = ""


def findings_table(findings: Sequence[Finding]) -> Table:
    head = (Column("what"), Column("found", wraps=True), Column(""), Column("what to do", wraps=True))
    rows = [
        row(one.what, one.found, TableCell(one.state, tone="bad" if one.state == "broken" else ""), one.advice)
        for one in findings
    ]
    return Table("this machine", head, tuple(rows))
