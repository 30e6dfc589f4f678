"""Whether the rows of a plan fit what its models read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from gatebench.bench.plan.graph import Cell, Node


def too_long(cells: Iterable[Cell], nodes: Mapping[str, Node], contexts: Mapping[str, int | None]) -> list[str]:
    """A sentence for each model and length beyond it. contexts: the most tokens a model reads, None for no limit."""
    limits = ((cell, context) for cell in cells if (context := contexts[cell.model]) is not None)
    return list(dict.fromkeys(sentence for cell, context in limits for sentence in _beyond(cell, context, nodes)))


def _beyond(cell: Cell, context: int, nodes: Mapping[str, Node]) -> Iterator[str]:
    model = f"model {cell.model}, which reads at most {context}"
    base, lengths = nodes[cell.stages["base"]].spec.recipe, nodes[cell.stages["train"]].spec.recipe.lengths
    if base is not None and base.context > context:
        yield f"base.context: {base.context} tokens are too many for {model}"
    if "implicit_reward" in cell.stages:
        most = nodes[cell.stages["implicit_reward"]].spec.lengths.max_length
        if most > context:
            yield f"evaluate.implicit_reward.max_length: {most} tokens are too many for {model}"
    if lengths.max_length > context:
        yield f"train.max_length: {lengths.max_length} tokens are too many for {model}"
    elif "generate" in cell.stages:
        answer = nodes[cell.stages["generate"]].spec.sampling.max_tokens
        prompt = lengths.max_prompt_length or lengths.max_length - 1
        if prompt + answer > context:
            yield (
                f"evaluate.generate.max_tokens: {answer} tokens after prompts of up to {prompt} are too many for "
                f"{model}; ask for fewer, or set train.max_prompt_length"
            )
