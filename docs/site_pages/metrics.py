"""Every metric by the name that claims, searches and `summary.json` have for it, from the registry."""

from __future__ import annotations

from itertools import groupby

from gatebench.bench.metrics import registry
from site_pages.markdown import code, table

HEAD = ("name", "as tables say it", "unit", "better", "tunable")
MEASURED = {
    "dynamics": "On probes, through training", "geometry": "On probes, before training: `evaluate: {geometry: true}`",
    "generate": "Of answers: `evaluate: {generate: ...}`", "judge": "Of verdicts: `evaluate: {judge: ...}`",
    "implicit_reward": "Of right and wrong answers: `evaluate: {implicit_reward: ...}`",
}  # fmt: skip


def metrics_table() -> str:
    parts = []
    for stage, names in groupby(registry.names(), lambda name: registry.get_metric(name).source.stage):
        found = [(name, registry.get_metric(name)) for name in names]
        rows = [
            (code(name), registry.title(name), own.unit, own.better or "", "yes" if name in registry.tunable() else "")
            for name, own in found
        ]
        parts.append(f"## {MEASURED[stage]}\n\n{table(HEAD, rows)}")
    return "\n\n".join(parts)
