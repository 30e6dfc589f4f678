"""How much was tried of each kind and what came of it: `python -m tests.trust.tally FILE` prints the table."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

LONG = bool(os.environ.get("GATEBENCH_LONG"))
COLUMNS = ("tried", "tracebacks", "hangs", "lost", "wrong")


def some(short: int, long: int) -> int:
    """How many are tried."""
    return long if LONG else short


def count(kind: str, tried: int = 1, tracebacks: int = 0, hangs: int = 0, lost: int = 0, wrong: int = 0) -> None:
    """Note what was tried, where GATEBENCH_TALLY names a file for that."""
    file = os.environ.get("GATEBENCH_TALLY")
    if file:
        line = {"kind": kind, **dict(zip(COLUMNS, (tried, tracebacks, hangs, lost, wrong), strict=True))}
        with Path(file).open("a") as opened:
            opened.write(json.dumps(line) + "\n")


def table(file: Path) -> str:
    kinds: dict[str, Counter[str]] = {}
    for line in file.read_text().splitlines():
        found = json.loads(line)
        kinds.setdefault(found.pop("kind"), Counter()).update(found)
    rows = [("kind", *COLUMNS), *((kind, *(f"{of[name]:,}" for name in COLUMNS)) for kind, of in kinds.items())]
    wide = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join("  ".join(text.ljust(w) if n == 0 else text.rjust(w) for n, (text, w) in
                               enumerate(zip(row, wide, strict=True))) for row in rows)  # fmt: skip


if __name__ == "__main__":
    print(table(Path(sys.argv[1])))
