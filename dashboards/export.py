"""The report's figures as vector PDF, SVG and CSV, its tables as LaTeX and Markdown: what goes into a paper."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from gatebench.bench.analysis.summary import Summary
from gatebench.bench.analysis.table import Table, TableCell, TableRow
from gatebench.bench.analysis.tables import kinds_table, remedies_table, results_table, verdicts_table
from gatebench.dashboards.drawing import DRAWN, AxisValues, draw_files, surface_points
from gatebench.dashboards.figures import Figure


def write_exports(figures: Sequence[Figure], summary: Summary, folder: Path) -> None:
    """NN-title.pdf, .svg and .csv of every figure, tables.md and tables.tex. figures: {title, spec}, plotly's words."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink(missing_ok=True)
    for number, figure in enumerate(figures):
        name = f"{number:02d}-{re.sub(r'[^a-z0-9]+', '-', figure['title'].lower()).strip('-')[:60]}"
        (folder / f"{name}.csv").write_text(as_csv(figure["spec"]), encoding="utf-8")
        if all(trace["type"] in DRAWN for trace in figure["spec"]["data"]):
            draw_files(figure["spec"], (folder / f"{name}.pdf", folder / f"{name}.svg"))
    tables = paper_tables(summary)
    (folder / "tables.md").write_text("\n".join(map(markdown, tables)), encoding="utf-8")
    (folder / "tables.tex").write_text("% \\usepackage{booktabs}\n" + "\n".join(map(latex, tables)), encoding="utf-8")


def as_csv(spec: Figure) -> str:
    """The numbers of a figure: one row a point, z only on a surface."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["series", "panel", "x", "y", "low", "high", "label", "z"])
    for trace in spec["data"]:
        if trace["type"] == "contour":
            table.writerows(["", trace.get("xaxis", "x"), x, y, "", "", "", z] for x, y, z in surface_points(trace))
            continue
        x, y, error = _values(trace.get("x")), _values(trace.get("y")), trace.get("error_y") or {}
        labels = trace.get("text")
        for at, (one, other) in enumerate(zip(x, y, strict=False)):
            low = other - error["arrayminus"][at] if "arrayminus" in error else ""
            high = other + error["array"][at] if "array" in error else ""
            label = labels[at] if isinstance(labels, list) else labels or ""
            table.writerow([trace.get("name", ""), trace.get("xaxis", "x"), one, other, low, high, label, ""])
    return text.getvalue()


def _values(found: object) -> AxisValues:
    return list(found) if isinstance(found, list | tuple) else []


def paper_tables(summary: Summary) -> list[Table]:
    """The points of the suite, also by kind of pair where there are several, and the contrasts of its claims, with 95 %
    intervals."""
    curves = remedies_table(summary)
    kinds = kinds_table(summary)
    return [results_table(summary), *([kinds] if kinds.rows else []), *([curves] if curves.rows else []),
            *([verdicts_table(summary)] if summary.claims else [])]  # fmt: skip


def on_one_line(text: str) -> str:
    """As papers set it, with a space on both sides of ±; a line's end would end a row."""
    return " ".join(text.replace(" ±", " ± ").split())


# what Markdown may read as its own; brackets where a link could start, underlines that are not inside a word
MARKDOWN = re.compile(r"[\\`*<&|~]|\](?=[(\[:])|(?<!\w)_|_(?!\w)")


def markdown(table: Table) -> str:
    """A table as GitHub reads it; no text of it is read as markup."""

    def escaped(text: str) -> str:
        return MARKDOWN.sub(r"\\\g<0>", on_one_line(text))

    def cell(found: TableCell) -> str:
        return f"**{escaped(found.text)}**" if found.bold and found.text else escaped(found.text)

    head = [escaped(column.name) for column in table.head]
    rules = ["---:" if column.right else "---" for column in table.head]
    rows = [[cell(found) for found in _filled(table, row)] for row in table.rows]
    lines = [f"| {' | '.join(line)} |" for line in (head, rules, *rows)]
    caption = ["", escaped(table.caption)] if table.caption else []
    return "\n".join([f"**{escaped(table.title)}**", "", *lines, *caption, ""])


def _filled(table: Table, row: TableRow) -> tuple[TableCell, ...]:
    """A cell for each column."""
    return row.cells + (TableCell(""),) * (len(table.head) - len(row.cells))


SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "Δ": r"$\Delta$",
           "±": r"$\pm$", "−": "$-$", "|": r"\textbar{}", "<": r"\textless{}", ">": r"\textgreater{}",
           **{character: f"\\{character}" for character in "&%$#_{}"}}  # fmt: skip


def latex(table: Table) -> str:
    """A table for LaTeX with booktabs; no text of it is read as a command."""

    def escaped(text: str) -> str:
        return "".join(SPECIAL.get(character, character) for character in on_one_line(text))

    def cell(found: TableCell) -> str:
        return rf"\textbf{{{escaped(found.text)}}}" if found.bold and found.text else escaped(found.text)

    def line(cells: Iterable[str]) -> str:
        text = " & ".join(cells)
        # the row before ends in \\, which would take a bracket or an asterisk for its own
        return ("{}" if text.startswith(("[", "*")) else "") + text + r" \\"

    rows = []
    for place, row in enumerate(table.rows):
        rows += [r"\midrule"] if row.section and place else []
        rows.append(line(map(cell, _filled(table, row))))
    columns = "".join("r" if column.right else "l" for column in table.head)
    notes = [f"% {on_one_line(text)}" for text in (table.title, table.caption) if text]
    return "\n".join([
        *notes, rf"\begin{{tabular}}{{{columns}}}", r"\toprule", line(escaped(column.name) for column in table.head),
        r"\midrule", *rows, r"\bottomrule", r"\end{tabular}", "",
    ])  # fmt: skip
