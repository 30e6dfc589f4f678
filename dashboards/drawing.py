"""A figure of the report as matplotlib draws it for papers and pages: panels, colours, symbols and dashes as there."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from gatebench.dashboards.figures import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = {"circle": "o", "diamond": "D", "square": "s", "triangle-up": "^", "cross": "P", "x": "X"}
LINES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (8, 3)),
         "longdashdot": (0, (8, 3, 2, 3))}  # fmt: skip
ROOM = 1.5  # times the outermost values of a logarithmic axis, to both sides
GREY = "#444444"  # what is neither gated nor ungated
PANEL, MARGIN = (2.6, 2.2), 1.3  # inches
BELOW, LEGEND_LINE = 0.95, 0.16  # inches for two lines of a legend and what stands above it, and for each line more
IN_A_LEGEND = 28  # what a legend can name
DRAWN = ("scatter", "bar", "contour")
AxisValue: TypeAlias = Any  # a number, or a word where an axis is of categories
AxisValues: TypeAlias = list[AxisValue]
Measurement: TypeAlias = tuple[AxisValue, AxisValue, float]  # x, y, z
Looks: TypeAlias = Any  # by matplotlib's names
STYLE: Looks = {
    "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "pdf.fonttype": 42,
    "svg.fonttype": "none", "svg.hashsalt": "gatebench",  # text as text, and equal figures as equal files
}  # fmt: skip


def draw_files(spec: Figure, files: Iterable[Path]) -> None:
    """A figure of traces of the kinds DRAWN, written to each file in the format of its name's ending."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    layout = spec["layout"]
    grid = layout.get("grid", {"rows": 1, "columns": 1})
    rows, columns = grid["rows"], grid["columns"]
    with matplotlib.rc_context(STYLE):
        names = dict.fromkeys(trace.get("name") for trace in spec["data"] if trace.get("showlegend", True))
        across = 4 if len(names) <= 12 else 7
        below = BELOW + LEGEND_LINE * max(0, -(-len(names) // across) - 2) * (len(names) <= IN_A_LEGEND)
        width, height = max(4.5, PANEL[0] * columns), MARGIN + PANEL[1] * rows + below - BELOW
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
        _scale(axes.flat, layout)
        handles = {label: handle for panel in axes.flat for handle, label in zip(*panel.get_legend_handles_labels(),
                                                                                 strict=True)}  # fmt: skip
        if 0 < len(handles) <= IN_A_LEGEND:
            canvas.legend(handles.values(), handles.keys(), loc="lower center", ncols=min(across, len(handles)))
        canvas.suptitle(layout.get("title", {}).get("text", ""))
        # set by hand: matplotlib's own layout engines draw the figure twice to find these numbers
        canvas.subplots_adjust(left=0.6 / width, right=1 - 0.1 / width, bottom=below / height, top=1 - 0.6 / height,
                               wspace=0.32, hspace=0.5)  # fmt: skip
        for file in files:
            canvas.savefig(file, metadata={"CreationDate" if file.suffix == ".pdf" else "Date": None})


def _frame(panel: Axes, x: Figure, y: Figure) -> None:
    if y.get("type") == "log":
        panel.set_yscale("log")
    else:
        panel.axhline(0, color="#999999", linewidth=0.6, zorder=0)
    if x.get("type") == "log":
        panel.set_xscale("log")
    if "ticktext" in x:
        panel.set_xticks(x["tickvals"], x["ticktext"], rotation=30, ha="right")
    for axis, label, limits in ((x, panel.set_xlabel, panel.set_xlim), (y, panel.set_ylabel, panel.set_ylim)):
        if "title" in axis:
            label(axis["title"]["text"])
        if "range" in axis:  # of a logarithmic axis plotly has exponents
            low, high = (10**end if axis.get("type") == "log" else end for end in axis["range"])
            limits((low, high))


def _scale(panels: Iterable[Axes], layout: Figure) -> None:
    """One y scale where the report has one, and room around the points of logarithmic axes."""
    first, *others = panels
    alike = [panel for number, panel in enumerate(others, 2) if layout.get(f"yaxis{number}", {}).get("matches")]
    limits = [limit for panel in (first, *alike) for limit in panel.get_ylim()]
    for panel in (first, *alike) if alike else ():
        panel.set_ylim(min(limits), max(limits))
    for panel in (first, *others):
        if panel.get_xscale() == "log":
            _make_room(panel)


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
            _surface(panel, surface_points(trace))
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


def surface_points(surface: Figure) -> list[Measurement]:
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
    style: Looks = {
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
