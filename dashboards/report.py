"""One self-contained HTML file a run: works offline, every text from outside escaped."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gatebench.bench.analysis.summary import HEADLINE, CellResult, Summary, cell_curves
from gatebench.bench.analysis.tables import TITLES, with_interval
from gatebench.bench.stages.registry import kinds
from gatebench.bench.stages.stage import LIBRARIES
from gatebench.bench.store.files import write_text
from gatebench.bench.store.store import Store
from gatebench.bench.suite.claims import ANSWERS
from gatebench.dashboards import export, figures, mass_account
from gatebench.dashboards.answers import side_by_side
from gatebench.dashboards.curves import Curves

FILE = "report.html"
STUDY = "study.json"  # figures of a study, where the run judges the winner of one
FIGURES = "figures"  # the figures as PDF and CSV, the tables as LaTeX and Markdown
AXES = ("model", "dataset", "objective", "gate", "seed")
SECONDS_TO_REFRESH = 15
COLUMNS = (*HEADLINE, "delta_argmax_per_token", "kl", *(f"test_{name}" for name in HEADLINE), *ANSWERS)


def write_report(summary: Summary, store: Store, folder: Path, command: str = "", live: bool = False) -> Path:
    """Build the report of a run from its summary and the curves in the store; returns the file.

    command: what makes this run again; live: the run goes on, so that the page reads itself again, and what is meant
    for a paper is left for its end.
    """
    from jinja2 import Environment

    cells = summary.finished
    curves = {cell.id: cell_curves(store, cell, summary.tuned_on) for cell in cells}
    study = folder / STUDY
    shown = (_figures(summary, curves) if cells else []) + (json.loads(study.read_text()) if study.exists() else [])
    drawn = [_placed(f"f{n}", figure) for n, figure in enumerate(shown)]
    samples = side_by_side(summary, store)
    template = Environment(autoescape=True).from_string((Path(__file__).parent / FILE).read_text(encoding="utf-8"))
    html = template.render(
        summary=summary, figures=drawn,
        accounts={name: mass_account.account(cells, curves, name) for name in mass_account.ACCOUNTS},
        parts=list(mass_account.PARTS), account_titles=mass_account.ACCOUNTS,
        columns=_columns([g.metrics for g in summary.groups]),
        cell_columns=_columns([cell.metrics for cell in cells]), titles=TITLES, with_interval=with_interval,
        failed=[cell for cell in summary.cells if cell.status != "finished"], costs=_costs(summary),
        cautions=summary.cautions, dropped=_dropped(cells), provenance=_provenance(summary, store, command),
        plotly=_plotly(), axis_names=AXES, choices=_choices(summary), samples=samples,
        live=SECONDS_TO_REFRESH if live else None, contents=_contents(summary, drawn, bool(samples)),
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    if not live:
        export.write(shown, summary, folder / FIGURES)
    write_text(folder / FILE, html)
    return folder / FILE


def _placed(name: str, figure: Mapping[str, Any]) -> dict[str, Any]:
    """A figure as the template needs it."""
    from markupsafe import Markup

    # inside a script element only "<" could end the text; as an escape it cannot
    text = Markup(json.dumps(figure["spec"]).replace("<", "\\u003c"))  # noqa: S704
    return {**figure, "name": name, "json": text, "columns": figure["spec"]["layout"].get("grid", {}).get("columns", 1)}


def _choices(summary: Summary) -> dict[str, list[str]]:
    """The values of every axis that has several."""
    found = {axis: list(dict.fromkeys(str(getattr(cell, axis)) for cell in summary.cells)) for axis in AXES}
    return {axis: values for axis, values in found.items() if len(values) > 1}


def _contents(summary: Summary, drawn: Sequence[Mapping[str, Any]], samples: bool) -> list[tuple[str, str]]:
    found = [("claims", "Claims")] if summary.claims else []
    found += [("points", "Points")] if summary.groups else []
    found += [(figure["name"], figure["title"]) for figure in drawn[:3]]
    found += [("samples", "Answers")] if samples else []
    return [*found, ("every-cell", "Every cell"), ("cost", "Cost"), ("provenance", "Provenance")]


def _columns(rows: Sequence[Mapping[str, float]]) -> list[str]:
    return [name for name in COLUMNS if any(name in row for row in rows)]


def _figures(summary: Summary, curves: Curves) -> list[dict[str, Any]]:
    cells = summary.finished
    found: list[dict[str, Any]] = [
        {"title": "What the gate changes", "spec": figures.strip(summary),
         "alt": "Change of the chosen log-prob by model and objective, gated and ungated"},
        {"title": "Spill onto unrelated responses", "spec": figures.strip(summary, "delta_others", "Δ others"),
         "alt": "Change of unrelated log-probs by model and objective, gated and ungated"},
        {"title": "Scale against gate", "spec": figures.scale(summary),
         "alt": "Change of the chosen log-prob against the number of parameters"},
    ]  # fmt: skip
    for model, dataset in dict.fromkeys((cell.model, cell.dataset) for cell in cells):
        own = [cell for cell in cells if (cell.model, cell.dataset) == (model, dataset)]
        found += [
            {"title": f"{TITLES[metric]} through training, {model} on {dataset}",
             "spec": figures.dynamics(own, curves, metric, TITLES[metric]),
             "axes": {"model": model, "dataset": dataset},
             "alt": f"{TITLES[metric]} at every checkpoint of {model} on {dataset}"}
            for metric in ("delta_chosen", "delta_rejected", "delta_argmax")
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
    """Every data row that a reference stage left out."""
    found: dict[str, None] = {}
    for cell in cells:
        found |= dict.fromkeys(cell.stages["reference"].facts.get("dropped", ()))
    return list(found)


def _costs(summary: Summary) -> list[dict[str, Any]]:
    """Seconds and tokens by stage kind; a stage that cells share counts once."""
    records = {record.key: (kind, record) for cell in summary.cells for kind, record in cell.stages.items()}
    rows = []
    for kind in kinds():
        own = [record for of, record in records.values() if of == kind]
        if own:
            rows.append({"kind": kind, "count": len(own), "seconds": sum(r.seconds or 0 for r in own),
                         "tokens": sum(r.tokens or 0 for r in own)})  # fmt: skip
    return rows


def _provenance(summary: Summary, store: Store, command: str) -> dict[str, str]:
    manifests = [store.manifest("train", cell.stages["train"].key) for cell in summary.finished]
    data = {cell.dataset: m["spec"]["data"]["content"] for cell, m in zip(summary.finished, manifests, strict=True)}
    return {
        "run": summary.run_id,
        **({"made again by": command} if command else {}),
        "code that trained": ", ".join(sorted({str(m.get("code")) for m in manifests if m.get("code")})),
        **{f"data set {name}": content for name, content in data.items()},
        **{f"{name} version": version(name) for name in (*LIBRARIES, "gatebench")},
        "seeds": ", ".join(map(str, sorted({cell.seed for cell in summary.cells}))),
    }


@cache
def _plotly() -> str:
    """plotly.js, compressed: the browser unpacks it, which keeps the file well under 5 MB."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
