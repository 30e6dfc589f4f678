"""The model card of an exported cell: its figures with their intervals, how it was made, and what it does not show.
Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

import yaml

from gatebench.bench.analysis.table import interval
from gatebench.bench.data.source import HUB
from gatebench.bench.export.cell import FinishedCell
from gatebench.bench.keys import Json
from gatebench.bench.metrics import registry
from gatebench.bench.metrics.metric import SPLIT_PREFIXES
from gatebench.bench.stages.stage import CAUTIONS
from gatebench.bench.store.manifest import Manifest

FIRST_ROW = "; first: "  # after it a sentence names the place of a row
FROM_THE_ROOT = re.compile(r"(^|[\s'\"(])(/|~/|[A-Za-z]:\\)\w")  # a path from the root, which is nobody else's business
HELD_OUT = SPLIT_PREFIXES["test"]
LIMITS = (
    "The intervals (95 %) are over prompts of this one training: how far those of other seeds differ is not in them.",
    "Figures on training prompts say what training did to pairs that it saw; the held-out column speaks of others.",
    "It was trained to be compared with other cells of its suite, not for use: nothing was done for its safety.",
    "The licences and terms of its base model and of its data hold for it as well.",
)


def model_card(cell: FinishedCell, name: str, weights: str) -> str:
    """README.md of an exported folder. name: what from_pretrained is given; weights: a sentence on what they are."""
    return "\n".join([
        f"---\n{yaml.safe_dump(_front(cell), sort_keys=False, allow_unicode=True)}---\n",
        f"# {name.rstrip('/').rpartition('/')[2]}\n",
        f"Cell `{cell.result.id}` of the gatebench suite `{cell.run.suite}` (run `{cell.run.id}`). {weights}\n",
        "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n",
        f'model = AutoModelForCausalLM.from_pretrained("{name}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{name}")\n```\n',
        "## Figures\n", *_figures(cell), "\n## Recipe\n", *_recipe(cell), "\n## Data\n", *_data(cell),
        "\n## Limits\n", *(f"* {sentence}" for sentence in (*LIMITS, *cautions_of(cell.made))), "",
    ])  # fmt: skip


def _front(cell: FinishedCell) -> dict[str, object]:
    """The card's metadata, as the hub reads it."""
    result = cell.result
    base = _hub_name(_of(cell, "base", "spec", "model", "content"))
    data = _hub_name(_of(cell, "train", "spec", "data", "content"))
    tags = ["gatebench", "preference-optimization", result.loss, f"gate-{result.gate}"]
    found: dict[str, object] = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": tags}
    found |= {"base_model": base} if base else {}
    return found | ({"datasets": [data]} if data else {})


def _hub_name(content: object) -> str | None:
    """ORGANISATION/NAME of what lies on the hub."""
    if not isinstance(content, str) or not content.startswith(HUB):
        return None
    return "/".join(content.removeprefix(HUB).partition("@")[0].split("/")[:2])


def _of(cell: FinishedCell, kind: str, *path: str) -> object:
    """What a manifest says at a path; None where it does not."""
    found: object = cell.made.get(kind)
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _figures(cell: FinishedCell) -> Iterator[str]:
    metrics = cell.result.metrics
    shown = [name for name in registry.names() if name in metrics and not name.startswith(HELD_OUT)]
    tasks = [name for name in metrics if name not in registry.names() and not name.endswith(("_lo", "_hi"))]
    yield "| | unit | training prompts | held-out prompts |\n| --- | --- | --- | --- |"
    for name in [*shown, *tasks]:
        unit = registry.get_metric(name).unit if name in shown else ""
        yield f"| {registry.title(name)} | {unit} | {_figure(cell, name)} | {_figure(cell, f'{HELD_OUT}{name}')} |"


def _figure(cell: FinishedCell, name: str) -> str:
    metrics = cell.result.metrics
    if name not in metrics:
        return ""
    return f"{metrics[name]:.3f} {interval(metrics.get(f'{name}_lo'), metrics.get(f'{name}_hi'))}".strip()


def _recipe(cell: FinishedCell) -> Iterator[str]:
    result = cell.result
    yield (
        f"Model {result.model}, data {result.dataset}, objective {result.objective} (loss {result.loss}, warm-up "
        f"{result.warmup}), gate {result.gate}, seed {result.seed}. Stages, with what their keys are the hash of, but "
        "for what did not apply:\n"
    )
    for kind, manifest in cell.made.items():
        versions = ", ".join(f"{name} {number}" for name, number in manifest["libraries"].items())
        yield f"<details><summary>{kind} {manifest['key']}: {versions}, gatebench {manifest['code']}</summary>\n"
        yield f"```json\n{json.dumps(applying(manifest['spec']), indent=1, ensure_ascii=False)}\n```\n</details>\n"


def applying(spec: Json) -> Json:
    """A stage's parameters without the length of its training that another one overrides: of steps and epochs the one
    that counted."""
    if not isinstance(spec, Mapping):
        return spec
    found, recipe = dict(spec), spec.get("recipe")
    if isinstance(recipe, Mapping) and "steps" in recipe:
        other = "steps" if recipe["steps"] is None else "epochs"
        found["recipe"] = {name: value for name, value in recipe.items() if name != other}
    return found


def _data(cell: FinishedCell) -> Iterator[str]:
    model, data = (_of(cell, *path) for path in (("base", "spec", "model"), ("train", "spec", "data")))
    yield f"* base model: `{model.get('content') if isinstance(model, dict) else '?'}`"
    if isinstance(data, dict):
        rows = f"{data.get('train') or 'all'} training and {data.get('test') or 'all'} held-out rows asked for"
        yield f"* data set {cell.result.dataset}: `{data.get('content')}`, {rows}"
    yield "* a digest is the sha256 of the files' bytes by name, `hub:NAME@REVISION` what lies there at that revision"


def cautions_of(made: Mapping[str, Manifest]) -> list[str]:
    """What the stages themselves said, but for places on the machine that they ran on."""
    found: list[str] = []
    for manifest in made.values():
        told = manifest.get(CAUTIONS)
        found += [str(sentence).partition(FIRST_ROW)[0] for sentence in told] if isinstance(told, list) else []
    return [sentence for sentence in dict.fromkeys(found) if not FROM_THE_ROOT.search(sentence)]
