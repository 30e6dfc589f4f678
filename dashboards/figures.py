"""The figures of a report as plotly.js specifications: pure functions from results to plain dictionaries.

Colour says one thing in every figure: ungated is vermillion, gated is blue (Okabe & Ito's palette, safe for
colour-blind readers); other gates differ from one another by symbol and dash.

A trace's `meta` names the axes of the suite it belongs to, its `customdata` those of each point: by them the report's
filter shows and hides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from gatebench.bench.analysis.aggregates import Gated, Group, ungated_gates
from gatebench.bench.analysis.summary import CellResult, Summary
from gatebench.bench.metrics.metric import NATS
from gatebench.bench.plan.graph import Point
from gatebench.dashboards.curves import Band, Curves, bands

UNGATED_COLOUR, GATED_COLOUR = "#D55E00", "#0072B2"
UNGATED_BAND, GATED_BAND = "rgba(213,94,0,.18)", "rgba(0,114,178,.18)"
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
Figure: TypeAlias = dict[str, Any]  # plotly's words: a specification, a trace or another part of one


def colours(rows: Sequence[Gated]) -> dict[str, str]:
    """gate -> the colour of its kind."""
    return {row.gate: GATED_COLOUR if row.gated else UNGATED_COLOUR for row in rows}


def order(rows: Sequence[Gated]) -> dict[str, int]:
    """gate -> its place among the symbols and dashes; ungated first, whose place is kept where there is none."""
    ungated = ungated_gates(rows)
    gated = list(dict.fromkeys(row.gate for row in rows if row.gated))
    return {name: place for place, name in enumerate([*ungated, *gated], start=0 if ungated else 1)}


def layout(title: str, x: str, y: str, **more: object) -> Figure:
    return {
        "title": {"text": title}, "xaxis": {"title": {"text": x}, "automargin": True},
        "yaxis": {"title": {"text": y}, "zeroline": True, "automargin": True}, "margin": {"t": 48, "r": 16},
        "legend": {"orientation": "h", "y": -0.25}, **more,
    }  # fmt: skip


def panels(titles: Sequence[Sequence[str]]) -> tuple[Figure, list[list[str]]]:
    """(layout of a grid with a title over each panel, suffix of each panel's axes), row by row."""
    suffixes = [
        ["" if row + column == 0 else str(row * len(names) + column + 1) for column in range(len(names))]
        for row, names in enumerate(titles)
    ]
    grid = {"rows": len(titles), "columns": len(titles[0]), "pattern": "independent", "xgap": 0.14, "ygap": 0.28}
    style: Figure = {"grid": grid, "annotations": []}
    for names, row in zip(titles, suffixes, strict=True):
        for name, suffix in zip(names, row, strict=True):
            style[f"xaxis{suffix}"] = {"automargin": True}
            style[f"yaxis{suffix}"] = {"automargin": True, "zeroline": True, "nticks": 6}
            style["annotations"].append({
                "text": name, "showarrow": False, "x": 0.5, "y": 1.02, "yanchor": "bottom",
                "xref": f"x{suffix} domain", "yref": f"y{suffix} domain", "font": {"size": 12},
            })  # fmt: skip
    return style, suffixes


def share_scale(style: Figure, suffixes: Sequence[str]) -> None:
    """One y scale for panels that are compared with each other."""
    for suffix in suffixes[1:]:
        style[f"yaxis{suffix}"]["matches"] = "y"


def compared(points: Sequence[Group] | Sequence[CellResult]) -> list[str]:
    """The objectives that stand under more than one gate; all where none does."""
    gates = dict[str, set[str]]()
    for point in points:
        gates.setdefault(point.objective, set()).add(point.gate)
    return [objective for objective, own in gates.items() if len(own) > 1] or list(gates)


def strip(summary: Summary, metric: str = "delta_chosen", title: str = "Δ chosen") -> Figure:
    """Every point's metric with its interval, a panel an objective, gated against ungated at each model; each seed a
    faint dot. An objective under one gate alone stands in no panel beside others that have more."""
    gates = order(summary.groups)
    objectives = compared(summary.groups)
    models = list(dict.fromkeys(group.model for group in summary.groups))
    style, suffixes = panels([objectives])
    share_scale(style, suffixes[0])
    traces: list[Figure] = []
    for number, (objective, suffix) in enumerate(zip(objectives, suffixes[0], strict=True)):
        for gate, index in gates.items():
            own = [g for g in summary.groups if (g.gate, g.objective) == (gate, objective) and metric in g.metrics]
            cells = [
                cell for cell in summary.finished
                if (cell.gate, cell.objective) == (gate, objective) and metric in cell.metrics
            ]  # fmt: skip
            shift = 0.7 * ((index + 0.5) / len(gates) - 0.5)
            common = {"type": "scatter", "mode": "markers", "legendgroup": gate, "xaxis": f"x{suffix}",
                      "yaxis": f"y{suffix}"}  # fmt: skip
            marker = {"color": colours(summary.groups)[gate], "symbol": SYMBOLS[index % len(SYMBOLS)]}
            traces += [{
                **common, "showlegend": False, "meta": {"objective": objective, "gate": gate},
                "customdata": [{"model": c.model, "dataset": c.dataset, "seed": str(c.seed)} for c in cells],
                "x": [models.index(cell.model) + shift for cell in cells],
                "y": [cell.metrics[metric] for cell in cells], "text": [cell.id for cell in cells],
                "marker": {**marker, "size": 5, "opacity": 0.35},
            }, {
                **common, "showlegend": number == 0, "name": f"gate {gate}",
                "meta": {"objective": objective, "gate": gate},
                "customdata": [{"model": group.model, "dataset": group.dataset} for group in own],
                "x": [models.index(group.model) + shift for group in own],
                "y": [group.metrics[metric] for group in own],
                "text": [f"{g.model} {g.dataset} {g.objective} {gate}, {len(g.seeds)} seeds" for g in own],
                "error_y": interval_of(own, metric),
                "marker": {**marker, "size": 9},
            }]  # fmt: skip
        style[f"xaxis{suffix}"] |= {
            "tickvals": list(range(len(models))), "ticktext": models, "range": [-0.6, len(models) - 0.4],
        }  # fmt: skip
    style["yaxis"]["title"] = {"text": NATS}
    return {"data": traces, "layout": {**style, **_frame(f"{title} by method and model")}}


def dynamics(cells: Sequence[CellResult], curves: Curves, metric: str, title: str) -> Figure:
    """A metric through training, a panel an objective, a band over the seeds a gate; step 0 is 0 by definition."""
    found = bands(cells, curves, metric)
    objectives = compared(cells)
    gates, open_gates, colour = order(cells), ungated_gates(cells), colours(cells)
    style, suffixes = panels([objectives])
    share_scale(style, suffixes[0])
    traces: list[Figure] = []
    named: set[str] = set()
    for (_, dataset, objective, gate), band in found.items():
        if objective not in objectives:
            continue
        suffix = suffixes[0][objectives.index(objective)]
        common = {"type": "scatter", "legendgroup": gate, "x": [0, *band.steps], "xaxis": f"x{suffix}",
                  "yaxis": f"y{suffix}", "meta": {"objective": objective, "gate": gate}}  # fmt: skip
        traces += _filled(band, gate in open_gates, common) if band.seeds > 1 else []
        traces.append({
            **common, "mode": "lines+markers", "name": f"gate {gate}", "showlegend": gate not in named,
            "y": [0.0, *band.mean], "text": f"{dataset}, {objective} {gate}, {band.seeds} seeds",
            "line": {"color": colour[gate], "dash": DASHES[gates[gate] % len(DASHES)]},
            "marker": {"symbol": SYMBOLS[gates[gate] % len(SYMBOLS)]},
        })  # fmt: skip
        named.add(gate)
        style[f"xaxis{suffix}"]["title"] = {"text": "optimizer step"}
    style["yaxis"]["title"] = {"text": NATS}
    return {"data": traces, "layout": {**style, **_frame(title)}}


def _frame(title: str) -> Figure:
    return {
        "title": {"text": title}, "margin": {"t": 84, "r": 16}, "legend": {"orientation": "h", "y": -0.25}
    }  # fmt: skip


def _filled(band: Band, ungated: bool, common: Figure) -> list[Figure]:
    edge = {**common, "mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
    fill = UNGATED_BAND if ungated else GATED_BAND
    return [{**edge, "y": [0.0, *band.low]}, {**edge, "y": [0.0, *band.high], "fill": "tonexty", "fillcolor": fill}]


def gate_openness(cells: Sequence[CellResult], curves: Curves) -> Figure:
    """The gate's mean weight through training, with the share of pairs it closes (g < 0.1) dotted."""
    gates = order(cells)
    traces = []
    parts: list[tuple[str, str, dict[Point, Band]]] = [
        (name, dash, bands(cells, curves, f"gate/{name}", "training"))
        for name, dash in (("mean", "solid"), ("closed", "dot"))
    ]
    for name, dash, found in parts:
        for (model, dataset, objective, gate), band in found.items():
            traces.append({
                "type": "scatter", "mode": "lines+markers", "name": f"{objective} {gate} {name}", "x": band.steps,
                "meta": {"model": model, "dataset": dataset, "objective": objective, "gate": gate},
                "y": band.mean, "line": {"color": GATED_COLOUR, "dash": dash},
                "marker": {"symbol": SYMBOLS[gates[gate] % len(SYMBOLS)]},
            })  # fmt: skip
    style = layout("How open the gate is", "optimizer step", "weight, share", showlegend=len(traces) <= 16)
    return {"data": traces, "layout": style}


def scale(summary: Summary, metric: str = "delta_chosen") -> Figure:
    """Δ chosen against the number of parameters, a panel an objective: does the gate or the scale protect the chosen
    response?"""
    sizes: dict[str, int] = {
        cell.model: size for cell in summary.finished
        if "base" in cell.stages and isinstance(size := cell.stages["base"].facts.get("parameters"), int) and size
    }  # fmt: skip
    objectives = list(dict.fromkeys(group.objective for group in summary.groups))
    style, suffixes = panels([objectives])
    traces = []
    for number, (objective, suffix) in enumerate(zip(objectives, suffixes[0], strict=True)):
        for gate, index in order(summary.groups).items():
            own = [g for g in summary.groups if (g.gate, g.objective) == (gate, objective) and g.model in sizes]
            own.sort(key=lambda group: sizes[group.model])
            traces.append({
                "type": "scatter", "mode": "lines+markers", "name": f"gate {gate}", "legendgroup": gate,
                "showlegend": number == 0, "x": [sizes[group.model] for group in own],
                "y": [group.metrics[metric] for group in own], "text": [f"{g.model} {g.dataset}" for g in own],
                "meta": {"objective": objective, "gate": gate},
                "customdata": [{"model": group.model, "dataset": group.dataset} for group in own],
                "error_y": interval_of(own, metric), "xaxis": f"x{suffix}", "yaxis": f"y{suffix}",
                "line": {"color": colours(summary.groups)[gate], "dash": DASHES[index % len(DASHES)]},
                "marker": {"symbol": SYMBOLS[index % len(SYMBOLS)], "size": 8},
            })  # fmt: skip
        style[f"xaxis{suffix}"] |= {"type": "log", "title": {"text": "parameters"}, "nticks": 4}
    style["yaxis"]["title"] = {"text": NATS}
    return {"data": traces, "layout": {**style, **_frame("Scale against gate")}}


def interval_of(groups: Sequence[Group], metric: str) -> Figure:
    return {
        "type": "data", "symmetric": False, "thickness": 1.5, "width": 4,
        "array": [abs(_bound(group, metric, "hi") - group.metrics[metric]) for group in groups],
        "arrayminus": [abs(_bound(group, metric, "lo") - group.metrics[metric]) for group in groups],
    }  # fmt: skip


def _bound(group: Group, metric: str, end: str) -> float:
    """A bound of the interval; the value itself, which draws none, where there is no interval."""
    return group.metrics.get(f"{metric}_{end}", group.metrics[metric])
