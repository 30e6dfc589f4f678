"""Remedies as curves: what is left of the chosen response against what was learned, a line a remedy over its strength.

Here a colour tells remedies apart, not gated from ungated: twelve hues and six symbols, no pair twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gatebench.bench.analysis.remedies import PAID_FOR, PRICES, Remedy, remedies, strength
from gatebench.bench.metrics import registry
from gatebench.dashboards.figures import SYMBOLS, Figure, interval_of, panels

if TYPE_CHECKING:
    from gatebench.bench.analysis.summary import Summary

# Okabe & Ito's colours without the lightest, then darker ones between them
HUES = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C510A", "#6A3D9A", "#B2182B",
    "#7F7F7F", "#5AAE61",
)  # fmt: skip


def remedy_figures(summary: Summary) -> list[Figure]:
    """A figure a model and data set that the suite's remedies were measured on."""
    found = remedies(summary.remedies, summary.groups)
    names = list(summary.remedies)
    return [
        {"title": f"Remedies compared, {model} on {dataset}",
         "spec": pareto([r for r in found if (r.model, r.dataset) == (model, dataset)], names),
         "axes": {"model": model, "dataset": dataset}, "rows": 2,
         "alt": f"{registry.title(PAID_FOR)} against {' and '.join(map(registry.title, PRICES))} of every remedy over "
                f"its strength, {model} on {dataset}"}
        for model, dataset in dict.fromkeys((remedy.model, remedy.dataset) for remedy in found)
    ]  # fmt: skip


def looks_of(place: int) -> tuple[str, str]:
    """The hue and the symbol of the remedy at a place among all."""
    return HUES[place % len(HUES)], SYMBOLS[(place + place // len(HUES)) % len(SYMBOLS)]


def shown(values: Sequence[float]) -> list[float]:
    """Ends of an axis without the lowest tenth, since what a method breaks lies far below what is to be compared."""
    ordered = sorted(values)
    lowest, highest = ordered[len(ordered) // 10], ordered[-1]
    room = 0.08 * (highest - lowest) or 1.0
    return [lowest - room, highest + room]


def pareto(found: Sequence[Remedy], names: Sequence[str]) -> Figure:
    """PAID_FOR against each of PRICES, a panel each. names: of all remedies, whose places decide how each looks."""
    style, suffixes = panels([[registry.title(price) for price in PRICES]])
    kept = [group.metrics[PAID_FOR] for remedy in found for group in remedy.strengths]
    traces = []
    for price, suffix in zip(PRICES, suffixes[0], strict=True):
        for remedy in found:
            hue, symbol = looks_of(names.index(remedy.name))
            placed = sorted(zip(remedy.strengths, remedy.on_front, strict=True), key=lambda one: one[0].metrics[price])
            own = [group for group, _ in placed]  # joined as a claim at an equal price joins them
            traces.append({
                "type": "scatter", "mode": "lines+markers", "name": remedy.name, "legendgroup": remedy.name,
                "showlegend": price == PRICES[0], "xaxis": f"x{suffix}", "yaxis": f"y{suffix}",
                "x": [group.metrics[price] for group in own], "y": [group.metrics[PAID_FOR] for group in own],
                "text": [f"{strength(group)}, {len(group.seeds)} seeds" for group in own],
                "customdata": [{"objective": group.objective, "gate": group.gate} for group in own],
                "error_y": {**interval_of(own, PAID_FOR), "thickness": 0.8, "width": 2},
                "line": {"color": hue, "width": 1.5},
                "marker": {"color": hue, "symbol": symbol,
                           "size": [11 if front else 7 for _, front in placed]},
            })  # fmt: skip
        places = [group.metrics[price] for remedy in found for group in remedy.strengths]
        style[f"xaxis{suffix}"]["range"], style[f"yaxis{suffix}"]["range"] = shown(places), shown(kept)
        style[f"xaxis{suffix}"]["title"] = {"text": f"{registry.title(price)}, {registry.get_metric(price).unit}"}
    style["yaxis"]["title"] = {"text": f"{registry.title(PAID_FOR)}, {registry.get_metric(PAID_FOR).unit}"}
    title = {
        "text": "What each remedy keeps, and what it learns (nine in ten points)",
        "subtitle": {"text": "all by a double click"},
    }
    frame = {"title": title, "margin": {"t": 110, "r": 16}, "legend": {"orientation": "h", "y": -0.3}}
    return {"data": traces, "layout": {**style, **frame}}
