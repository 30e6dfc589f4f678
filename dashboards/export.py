"""The report's figures as vector PDF and CSV, its tables as LaTeX and Markdown: what goes into a paper."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from gatebench.bench.analysis.summary import Summary
from gatebench.bench.analysis.table import Table, TableCell, TableRow
from gatebench.bench.analysis.tables import kinds_table, remedies_table, results_table, verdicts_table
from gatebench.dashboards.figures import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = {"circle": "o", "diamond": "D", "square": "s", "triangle-up": "^", "cross": "P", "x": "X"}
LINES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (8, 3)),
         "longdashdot": (0, (8, 3, 2, 3))}  # fmt: skip
ROOM = 1.5  # times the outermost values of a logarithmic axis, to both sides
GREY = "#444444"  # what is neither gated nor ungated
PANEL, MARGIN = (2.6, 2.2), 1.3  # inches
DRAWN = ("scatter", "bar", "contour")
AxisValues: TypeAlias = list[Any]  # along an axis: numbers, or words where it is of categories
Measurement: TypeAlias = tuple[Any, Any, float]  # x, y, z
STYLE: Any = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42,
         "legend.frameon": False}  # fmt: skip


def write_exports(figures: Sequence[Figure], summary: Summary, folder: Path) -> None:
    """NN-title.pdf and .csv of every figure, tables.md and tables.tex. figures: {title, spec}, plotly's words."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink(missing_ok=True)
    for number, figure in enumerate(figures):
        name = f"{number:02d}-{re.sub(r'[^a-z0-9]+', '-', figure['title'].lower()).strip('-')[:60]}"
        (folder / f"{name}.csv").write_text(as_csv(figure["spec"]), encoding="utf-8")
        if all(trace["type"] in DRAWN for trace in figure["spec"]["data"]):
            draw_pdf(figure["spec"], folder / f"{name}.pdf")
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
            table.writerows(["", trace.get("xaxis", "x"), x, y, "", "", "", z] for x, y, z in _measured(trace))
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


def draw_pdf(spec: Figure, file: Path) -> None:
    """A figure of scatter and bar traces as a PDF: panels, colours, symbols and dashes as in the report."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    layout = spec["layout"]
    grid = layout.get("grid", {"rows": 1, "columns": 1})
    rows, columns = grid["rows"], grid["columns"]
    with matplotlib.rc_context(STYLE):
        width, height = max(4.5, PANEL[0] * columns), MARGIN + PANEL[1] * rows
        canvas = Canvas(figsize=(width, height))
        axes = canvas.subplots(rows, columns, squeeze=False)
        places: dict[str, Axes] = {}
        for number, panel in enumerate(axes.flat):
            suffix = "" if number == 0 else str(number + 1)
            places[f"x{suffix}"] = panel
            _frame(panel, layout.get(f"xaxis{suffix}", {}), layout.get(f"yaxis{suffix}", {}))
        for note in layout.get("annotations", ()):
            place = str(note.get("xref", "")).removesuffix(" domain")
            if place in places:
                places[place].set_title(note["text"])
        _traces(spec["data"], places)
        for panel in axes.flat:
            if panel.get_xscale() == "log":
                _make_room(panel)
        handles = {label: handle for panel in axes.flat for handle, label in zip(*panel.get_legend_handles_labels(),
                                                                                 strict=True)}  # fmt: skip
        if 0 < len(handles) <= 12:
            canvas.legend(handles.values(), handles.keys(), loc="lower center", ncols=min(4, len(handles)))
        canvas.suptitle(layout.get("title", {}).get("text", ""))
        # set by hand: matplotlib's own layout engines draw the figure twice to find these numbers
        canvas.subplots_adjust(left=0.6 / width, right=1 - 0.1 / width, bottom=0.95 / height, top=1 - 0.6 / height,
                               wspace=0.32, hspace=0.5)  # fmt: skip
        canvas.savefig(file, metadata={"CreationDate": None})


def _frame(panel: Axes, x: Figure, y: Figure) -> None:
    panel.axhline(0, color="#999999", linewidth=0.6, zorder=0)
    if x.get("type") == "log":
        panel.set_xscale("log")
    if "ticktext" in x:
        panel.set_xticks(x["tickvals"], x["ticktext"], rotation=30, ha="right")
    for axis, label in ((x, panel.set_xlabel), (y, panel.set_ylabel)):
        if "title" in axis:
            label(axis["title"]["text"])


def _make_room(panel: Axes) -> None:
    """Limits of a logarithmic axis around its points: of a single one matplotlib makes none."""
    low, high = panel.dataLim.intervalx
    if 0 < low <= high < math.inf:
        panel.set_xlim(low / ROOM, high * ROOM)


def _traces(traces: Sequence[Figure], places: Mapping[str, Axes]) -> None:
    stacks: dict[tuple[str, object, bool], float] = {}
    below: list[float] = []
    for trace in traces:
        panel, marker, line = places[trace.get("xaxis", "x")], trace.get("marker", {}), trace.get("line", {})
        x, y = list(trace["x"]), [math.nan if value is None else value for value in trace["y"]]
        label = trace.get("name") if trace.get("showlegend", True) else None
        if trace["type"] == "contour":
            _surface(panel, _measured(trace))
        elif trace.get("orientation") == "h":
            panel.barh([str(one) for one in y], x, color=GREY, height=0.6)
        elif trace["type"] == "bar":
            base = []
            for one, height in zip(x, y, strict=True):
                place = (trace.get("xaxis", "x"), one, height >= 0)
                base.append(stacks.get(place, 0.0))
                stacks[place] = base[-1] + height
            panel.bar([str(one) for one in x], y, bottom=base, color=marker.get("color"), label=label, width=0.8)
        elif line.get("width") == 0:  # the edges of a band: the lower one, then the upper one that is filled to it
            if "fill" in trace:
                panel.fill_between(x, below, y, color=_opaque(trace["fillcolor"]), alpha=0.18, linewidth=0)
            below = y
        else:
            _line(panel, trace, x, y, marker, line, label)


def _measured(surface: Figure) -> list[Measurement]:
    """(x, y, z) of the places of a surface's grid that have a value."""
    rows = zip(surface["y"], surface["z"], strict=True)
    return [(x, y, z) for y, row in rows for x, z in zip(surface["x"], row, strict=True) if z is not None]


def _surface(panel: Axes, known: Sequence[Measurement]) -> None:
    """Filled contours through what was measured; none where an axis holds words or fewer than three values."""
    axes = [{point[axis] for point in known} for axis in (0, 1)]
    if all(len(values) > 2 and not any(isinstance(value, str) for value in values) for values in axes):
        x, y, z = ([point[axis] for point in known] for axis in (0, 1, 2))
        panel.figure.colorbar(panel.tricontourf(x, y, z, levels=10, cmap="cividis"), ax=panel)


def _line(
    panel: Axes, trace: Figure, x: AxisValues, y: AxisValues, marker: Figure, line: Figure, label: str | None
) -> None:
    colour = line.get("color") or marker.get("color") or GREY
    style: dict[str, Any] = {
        "color": colour if isinstance(colour, str) else GREY, "label": label, "markersize": 4,
        "marker": MARKERS.get(str(marker.get("symbol")), "o") if "markers" in trace.get("mode", "lines") else "",
        "linestyle": LINES.get(line.get("dash", "solid"), "-") if "lines" in trace.get("mode", "lines") else "",
        "alpha": marker.get("opacity", 1.0), "linewidth": 1.2,
    }  # fmt: skip
    error = trace.get("error_y") or {}
    if "array" in error and len(x):
        panel.errorbar(x, y, [error["arrayminus"], error["array"]], capsize=2, elinewidth=1, **style)
    elif len(x):
        panel.plot(x, y, **style)


def _opaque(colour: str) -> str:
    """ "rgba(213,94,0,.18)" -> "#d55e00"."""
    red, green, blue = (int(number) for number in re.findall(r"\d+", colour)[:3])
    return f"#{red:02x}{green:02x}{blue:02x}"


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
