"""One self-contained HTML file a run: works offline, every text from outside escaped."""

from __future__ import annotations

import base64
import gzip
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.stages.stage import KINDS, LIBRARIES
from bench.store import Store
from bench.summary import HEADLINE, CellResult, Summary, cell_curves
from dashboards import figures

FILE = "report.html"
COLUMNS = (*HEADLINE, "delta_argmax_per_token", "kl", *(f"test_{name}" for name in HEADLINE))


def write_report(summary: Summary, store: Store, folder: Path) -> Path:
    """Build the report of a run from its summary and the curves in the store; returns the file."""
    from jinja2 import Environment
    from markupsafe import Markup

    cells = summary.finished
    curves = {cell.id: cell_curves(store, cell) for cell in cells}
    drawn = [
        # inside a script element only "<" could end the text; as an escape it cannot
        {**figure, "name": f"f{number}", "json": Markup(json.dumps(figure["spec"]).replace("<", "\\u003c"))}  # noqa: S704
        for number, figure in enumerate(_figures(cells, curves))
    ]
    template = Environment(autoescape=True).from_string((Path(__file__).parent / FILE).read_text(encoding="utf-8"))
    html = template.render(
        summary=summary, figures=drawn, columns=[c for c in COLUMNS if any(c in cell.metrics for cell in cells)],
        failed=[cell for cell in summary.cells if cell.status != "finished"], costs=_costs(summary),
        cautions=summary.cautions, dropped=_dropped(cells),
        provenance=_provenance(summary), plotly=_plotly(),
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(html, encoding="utf-8")
    return folder / FILE


def _figures(cells: list[CellResult], curves: figures.Curves) -> list[dict[str, Any]]:
    if not cells:
        return []
    found = [
        {"title": "What the gate changes", "spec": figures.strip(cells),
         "alt": "Change of the chosen log-prob by model and objective, gated and ungated"},
        {"title": "Spill onto unrelated responses", "spec": figures.strip(cells, "delta_others", "Δ others"),
         "alt": "Change of unrelated log-probs by model and objective, gated and ungated"},
        {"title": "Scale against gate", "spec": figures.scale(cells),
         "alt": "Change of the chosen log-prob against the number of parameters"},
    ]  # fmt: skip
    for model in dict.fromkeys(cell.model for cell in cells):
        own = [cell for cell in cells if cell.model == model]
        for metric, title in (
            ("delta_chosen", "Δ chosen"),
            ("delta_rejected", "Δ rejected"),
            ("delta_argmax", "Δ argmax"),
        ):
            found.append({"title": f"{title} through training, {model}",
                          "spec": figures.dynamics(own, curves, metric, title),
                          "alt": f"{title} at every checkpoint of {model}"})  # fmt: skip
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
    for kind in KINDS:
        own = [record for of, record in records.values() if of == kind]
        if own:
            rows.append({"kind": kind, "count": len(own), "seconds": sum(r.seconds or 0 for r in own),
                         "tokens": sum(r.tokens or 0 for r in own)})  # fmt: skip
    return rows


def _provenance(summary: Summary) -> dict[str, str]:
    return {
        "run": summary.run_id,
        **{f"{name} version": version(name) for name in (*LIBRARIES, "gatebench")},
        "seeds": ", ".join(map(str, sorted({cell.seed for cell in summary.cells}))),
    }


@cache
def _plotly() -> str:
    """plotly.js, compressed: the browser unpacks it, which keeps the file well under 5 MB."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
