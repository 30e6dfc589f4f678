"""One self-contained HTML file a run: works offline, every text from outside escaped."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from gatebench.bench.analysis.answer import answer
from gatebench.bench.analysis.samples import Asked, samples_table, side_by_side
from gatebench.bench.analysis.summary import CellResult, Summary, cell_curves
from gatebench.bench.analysis.table import Table
from gatebench.bench.analysis.tables import (
    cells_table,
    contrasts_table,
    costs_table,
    gates_table,
    kinds_table,
    points_table,
    remedies_table,
    scale_table,
    tasks_table,
)
from gatebench.bench.judged.disputes import AnsweredCell, most_disputed
from gatebench.bench.keys import Json
from gatebench.bench.metrics import registry
from gatebench.bench.plan.graph import NAME_AXES
from gatebench.bench.stages.stage import code_revision, library_versions
from gatebench.bench.store.files import write_text
from gatebench.bench.store.store import Store
from gatebench.dashboards import export, figures, mass_account
from gatebench.dashboards.curves import Curves
from gatebench.dashboards.figures import Figure
from gatebench.dashboards.remedy_curves import remedy_figures

REPORT_FILE = "report.html"
STUDY_FILE = "study.json"  # figures of a study, where the run judges the winner of one
FIGURES = "figures"  # the figures as PDF and CSV, the tables as LaTeX and Markdown
SECONDS_TO_REFRESH = 15
PROMPTS_SHOWN = 20
LONGEST_ANSWER = 600  # characters


def write_report(summary: Summary, store: Store, folder: Path, command: str = "", live: bool = False) -> Path:
    """Build the report of a run from its summary and the curves in the store; returns the file.

    command: what makes this run again; live: the run goes on, so that the page reads itself again, and what is meant
    for a paper is left for its end.
    """
    from jinja2 import Environment

    cells = summary.finished
    curves = {cell.id: cell_curves(store, cell, summary.tuned_on) for cell in cells}
    of_study, lost = _of_study(folder / STUDY_FILE)
    shown = (_figures(summary, curves) if cells else []) + of_study
    drawn = [_placed(f"f{n}", figure) for n, figure in enumerate(shown)]
    samples = list(_samples(cells, store))
    html = Environment(autoescape=True).from_string(_asset(REPORT_FILE)).render(
        summary=summary, answer=answer(summary), figures=drawn, css=_ours("report.css"), script=_ours("report.js"),
        plotly=_plotly(),
        **_tables(summary, curves), samples=samples,
        answers=[samples_table(asked, LONGEST_ANSWER) for asked in samples],
        failed=[cell for cell in summary.cells if cell.status != "finished"], cautions=[*summary.cautions, *lost],
        dropped=_dropped(cells), provenance=_provenance(summary, store, command), axis_names=NAME_AXES,
        choices=_choices(summary), live=SECONDS_TO_REFRESH if live else None,
        contents=_contents(summary, drawn, bool(samples)),
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    if not live:
        export.write_exports(shown, summary, folder / FIGURES)
    write_text(folder / REPORT_FILE, html)
    return folder / REPORT_FILE


def _samples(cells: Sequence[CellResult], store: Store) -> Iterator[Asked]:
    """Of each data set the answers to the prompts over which they differ most, these first."""
    found = [
        AnsweredCell(cell, cell.stages["generate"].key, cell.stages["judge"].key if "judge" in cell.stages else None)
        for cell in cells
        if "generate" in cell.stages
    ]
    for dataset in dict.fromkeys(one.cell.dataset for one in found):
        own = [one for one in found if one.cell.dataset == dataset]
        disputes = {dispute.number: dispute.why for dispute in most_disputed(own, store, PROMPTS_SHOWN)}
        asked = side_by_side([(one.cell, one.generate) for one in own], store, disputes)
        by_number = {one.number: one for one in asked}
        yield from (replace(by_number[number], why=why) for number, why in disputes.items() if number in by_number)


def _of_study(file: Path) -> tuple[list[Figure], list[str]]:
    """The figures of a study, and a sentence where they cannot be read any more."""
    if not file.exists():
        return [], []
    try:
        found: list[Figure] = json.loads(file.read_bytes())
        drawn = [_placed("study", figure) for figure in found]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [], [
            f"{file.name} cannot be read, so the figures of the study are missing; `bench tune --resume` writes it"
        ]
    return (found, []) if drawn else ([], [])


def _asset(name: str) -> str:
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")


def _ours(name: str) -> str:
    """A file of our own that goes into the page as it is."""
    from markupsafe import Markup

    return Markup(_asset(name))  # noqa: S704


def _tables(summary: Summary, curves: Curves) -> dict[str, Table | list[Table]]:
    """The tables by the names that the template knows them by."""
    accounts = [
        mass_account.account_table(rows, title)
        for name, title in mass_account.ACCOUNTS.items()
        if (rows := mass_account.account(summary.finished, curves, name))
    ]
    return {
        "contrasts": [contrasts_table(claim) for claim in summary.claims],
        "points": points_table(summary, _present([group.metrics for group in summary.groups])),
        "cells": cells_table(summary, _present([cell.metrics for cell in summary.finished])),
        "gates": gates_table(summary), "tasks": tasks_table(summary), "scale": scale_table(summary),
        "costs": costs_table(summary), "accounts": accounts, "kinds": kinds_table(summary),
        "remedies": remedies_table(summary),
    }  # fmt: skip


def _placed(name: str, figure: Figure) -> Figure:
    """A figure as the template needs it."""
    from markupsafe import Markup

    # inside a script element only "<" could end the text; as an escape it cannot
    text = Markup(json.dumps(figure["spec"]).replace("<", "\\u003c"))  # noqa: S704
    return {**figure, "name": name, "json": text, "columns": figure["spec"]["layout"].get("grid", {}).get("columns", 1)}


def _choices(summary: Summary) -> dict[str, list[str]]:
    """The values of every axis that has several."""
    found = {axis: list(dict.fromkeys(str(getattr(cell, axis)) for cell in summary.cells)) for axis in NAME_AXES}
    return {axis: values for axis, values in found.items() if len(values) > 1}


def _contents(summary: Summary, drawn: Sequence[Figure], samples: bool) -> list[tuple[str, str]]:
    found = [("claims", "Claims")] if summary.claims else []
    found += [("remedies", "Remedies")] if summary.remedies and summary.groups else []
    found += [("points", "Points")] if summary.groups else []
    found += [("kinds", "Kinds of pairs")] if summary.kinds else []
    found += [(figure["name"], figure["title"]) for figure in drawn[:3]]
    found += [("samples", "Answers")] if samples else []
    return [*found, ("every-cell", "Every cell"), ("cost", "Cost"), ("provenance", "Provenance")]


def _present(rows: Sequence[Mapping[str, float]]) -> list[str]:
    """The reported metrics that some row has."""
    return [name for name in registry.reported() if any(name in row for row in rows)]


def _figures(summary: Summary, curves: Curves) -> list[Figure]:
    cells = summary.finished
    found: list[Figure] = [
        {"title": "What the gate changes", "spec": figures.strip(summary),
         "alt": "Change of the chosen log-prob by model and objective, gated and ungated"},
        {"title": "Spill onto unrelated responses", "spec": figures.strip(summary, "delta_others", "Δ others"),
         "alt": "Change of unrelated log-probs by model and objective, gated and ungated"},
        {"title": "Scale against gate", "spec": figures.scale(summary),
         "alt": "Change of the chosen log-prob against the number of parameters"},
    ]  # fmt: skip
    found = [*remedy_figures(summary), *found]
    for model, dataset in dict.fromkeys((cell.model, cell.dataset) for cell in cells):
        own = [cell for cell in cells if (cell.model, cell.dataset) == (model, dataset)]
        found += [
            {"title": f"{registry.title(metric)} through training, {model} on {dataset}",
             "spec": figures.dynamics(own, curves, metric, registry.title(metric)),
             "axes": {"model": model, "dataset": dataset},
             "alt": f"{registry.title(metric)} at every checkpoint of {model} on {dataset}"}
            for metric in registry.drawn_as_curves()
        ]  # fmt: skip
        for prefix, title in mass_account.ACCOUNTS.items():
            rows = mass_account.account(own, curves, prefix)
            if rows:
                found.append({"title": f"Where the mass went, {model} on {dataset}: {title}",
                              "spec": mass_account.stacked(rows, "change from step 0 by checkpoint"),
                              "axes": {"model": model, "dataset": dataset},
                              "alt": f"Share of probability that each part gained at every checkpoint: {title}",
                              "rows": len({row.point[2] for row in rows})})  # fmt: skip
    openness = figures.gate_openness(cells, curves)
    if openness["data"]:
        found.append({"title": "Gate openness", "spec": openness, "alt": "Mean weight of the gate through training"})
    return found


def _dropped(cells: list[CellResult]) -> list[str]:
    """Every data row that a reference stage left out, or a training that reads no reference."""
    found: dict[str, None] = {}
    for cell in cells:
        for stage in (cell.stages[kind] for kind in ("reference", "train") if kind in cell.stages):
            dropped = stage.facts.get("dropped")
            found |= dict.fromkeys(dropped if isinstance(dropped, list) else ())
    return list(found)


def _provenance(summary: Summary, store: Store, command: str) -> dict[str, str]:
    manifests = [store.manifest("train", cell.stages["train"].key) for cell in summary.finished]
    data = {cell.dataset: _content(m["spec"]) for cell, m in zip(summary.finished, manifests, strict=True)}
    return {
        "run": summary.run_id,
        **({"made again by": command} if command else {}),
        "code that trained": ", ".join(sorted({m["code"] for m in manifests if m.get("code")})),
        **{f"data set {name}": content for name, content in data.items()},
        "gatebench version": code_revision(),
        **{f"{name} version": number for name, number in library_versions().items()},
        "seeds": ", ".join(map(str, sorted({cell.seed for cell in summary.cells}))),
    }


def _content(spec: Json) -> str:
    """The content of the data that a stage was made from."""
    data = spec.get("data") if isinstance(spec, Mapping) else None
    return str(data["content"]) if isinstance(data, Mapping) else ""


@cache
def _plotly() -> str:
    """plotly.js, compressed: the browser unpacks it, which keeps the file well under 5 MB."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
