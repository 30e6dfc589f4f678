"""How much work a stage is: its own amount, and what else decides how long that takes on a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from gatebench.bench import keys
from gatebench.bench.data.pairs import Pair, plain, plain_response
from gatebench.bench.data.source import TOOLBOX, DataSource
from gatebench.bench.models.dimensions import Dimensions, dimensions_of
from gatebench.bench.models.encoding import Lengths
from gatebench.bench.models.source import Adapter, ModelSource
from gatebench.bench.plan.graph import Node, Plan
from gatebench.bench.stages.registry import stage_of
from gatebench.bench.stages.stage import Amount

CHARACTERS_A_TOKEN = 4.0  # of English, by the tokenizers of pretrained models (4.0 to 4.6 on Anthropic-HH)
UNSEEN = 0.5  # share of the room for a prompt and a response that those of data which are not here are taken to fill
CHARACTERS_A_SHORT_TOKEN = 2.7  # by the 2,048 entries of the built-ins' own (the same)


@dataclass(frozen=True)
class StageWork:
    """A stage's amount and model. Stages of equal group differ in units alone. size: None where not even a name tells
    how large the model is."""

    group: str
    model: ModelSource
    size: Dimensions | None
    amount: Amount


def model_of(node: Node, nodes: Mapping[str, Node]) -> ModelSource:
    """The model that a stage works on, with the adapter that it trains: all its inputs rest on the same base."""
    adapter: Adapter | None = getattr(node.spec, "adapter", None)
    while node.inputs:
        node = nodes[node.inputs[0][2]]
    found: ModelSource = node.spec.model
    return replace(found, adapter=adapter)


def pairs_of(data: DataSource | None) -> int | None:
    """Training pairs of a data set; None where that is known only after a download."""
    from gatebench.bench.data.adapters import TOOLBOX_DEFAULTS, load

    if data is None:
        return None
    if data.train is not None:
        return data.train
    if data.path == TOOLBOX:
        return TOOLBOX_DEFAULTS[0]
    return None if data.is_on_hub else len(load(data).train)


def work_of(node: Node, nodes: Mapping[str, Node]) -> StageWork | None:
    """The work of a stage; None where the size of its data set is known only after a download."""
    data: DataSource | None = getattr(node.spec, "data", None)
    inputs = {role: nodes[key].spec for role, _, key in node.inputs}
    amount = stage_of(node.kind).amount(node.spec, inputs, pairs_of(data))
    if amount is None:
        return None
    model = model_of(node, nodes)
    rows = (data.content, data.train_split) if data else ()
    group = [node.kind, model.content, model.dtype, model.adapter, rows, amount.like]
    if data and amount.responses:
        lengths = getattr(node.spec, "lengths", None) or node.spec.recipe.lengths
        rows_seen = _rows(data, lengths, model.is_builtin)
        amount = _as_seen(amount, rows_seen) if rows_seen else _as_guessed(amount, lengths)
    return StageWork(f"{node.kind}-{keys.digest(group)}", model, dimensions_of(model), amount)


@lru_cache(maxsize=2)
def works_of(plan: Plan) -> Mapping[str, StageWork | None]:
    """`work_of` every stage of a plan, by key; worked out once for all who ask."""
    return {key: work_of(node, plan.nodes) for key, node in plan.nodes.items()}


@dataclass(frozen=True)
class _Row:
    """Tokens of a training pair, about: of its prompt, and of one response."""

    prompt: float
    response: float


def _as_seen(amount: Amount, rows: Sequence[_Row]) -> Amount:
    """An amount by the rows that are there, in place of the longest that there may be."""
    whole = [row.prompt + amount.responses * row.response for row in rows]
    tokens = round(sum(whole) / len(whole))
    if amount.states:
        share = min(1.0, max(whole) / amount.unit_tokens)
        return replace(amount, unit_tokens=tokens, batch_tokens=round(amount.batch_tokens * share),
                       logits=round(amount.logits * share))  # fmt: skip
    prompts = round(amount.units * max(row.prompt for row in rows))
    scored = round(amount.units * amount.responses * sum(row.response for row in rows) / len(rows))
    return replace(amount, unit_tokens=tokens, batch_tokens=min(amount.batch_tokens, prompts),
                   logits=min(amount.logits, scored))  # fmt: skip


def _as_guessed(amount: Amount, lengths: Lengths) -> Amount:
    """Of rows that are not here: as long as they may be in memory, and UNSEEN of it on average."""
    prompt = UNSEEN * (lengths.max_prompt_length or lengths.max_length)
    return replace(amount, unit_tokens=round(prompt + amount.responses * UNSEEN * (lengths.max_length - prompt)))


@lru_cache(maxsize=64)
def _rows(data: DataSource, lengths: Lengths, is_builtin: bool) -> tuple[_Row, ...]:
    """The training rows of a data set by their characters; none where they are not here."""
    from gatebench.bench.data.adapters import load

    if data.is_on_hub:
        return ()
    return tuple(_row(pair, lengths, is_builtin) for pair in load(replace(data, probes=0)).train)


def _row(pair: Pair, lengths: Lengths, is_builtin: bool) -> _Row:
    characters = CHARACTERS_A_SHORT_TOKEN if is_builtin else CHARACTERS_A_TOKEN
    most = lengths.max_length
    prompt = min(len(plain(pair.prompt)) / characters, lengths.max_prompt_length or most)
    sides = (min(len(plain_response(pair.prompt, side)) / characters, most - prompt)
             for side in (pair.chosen, pair.rejected))  # fmt: skip
    return _Row(prompt, sum(sides) / 2)
