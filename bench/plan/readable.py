"""Before the first stage: whether every model can read the rows of every data set that it will be trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.data.adapters import load, load_corpus
from gatebench.bench.data.contents import rows_digest
from gatebench.bench.data.conversation import is_transcript
from gatebench.bench.data.pairs import Chat, Dropped, Pair, plain
from gatebench.bench.data.source import ROWS, DataSource
from gatebench.bench.errors import UserError
from gatebench.bench.models.chat_template import OUT_OF_BOUNDS, REFUSES
from gatebench.bench.models.encoding import Encoder, Lengths
from gatebench.bench.models.gguf.source import gguf_tokenizer, has_template
from gatebench.bench.plan.graph import Plan, Sources
from gatebench.bench.plan.shares import uneven_ends

if TYPE_CHECKING:
    from gatebench.bench.models.source import ModelSource
    from gatebench.objectives.causal_lm import Tokenizer


def is_here(source: ModelSource) -> bool:
    """Whether a model's tokenizer lies on this machine: not to be fetched, nor trained."""
    return Path(source.path).is_dir() or bool(source.parts)


def check_rows(plan: Plan, sources: Sources, wanted: Callable[[ModelSource], bool] = lambda source: True) -> None:
    """Encode the training pairs of every model, of those that are wanted, and local data set that meet in a cell.

    Raises UserError, all at once, where more of them than max_dropped cannot be encoded, where a chat template refuses
    a system's turn, and where several devices cannot share the rows at the end of an epoch. Data sets of the hub are
    checked by the first stage that has them.
    """
    mistakes: list[str] = []
    for model, dataset, lengths in _meetings(plan):
        source, data = sources.models[model], sources.datasets[dataset]
        if data.is_on_hub or not wanted(source):
            continue
        rows, dropped = load(data).train, list[Dropped]()
        # else what its tokenizer would have to be trained for is known already
        if not (source.is_builtin and all(_surely_fits(pair, lengths) for pair in rows)):
            _, dropped = Encoder(_tokenizer(source, data), lengths).pairs(rows)
        met = [cell for cell in plan.cells if (cell.model, cell.dataset) == (model, dataset)]
        mistakes += uneven_ends(met, plan.nodes, len(rows) - len(dropped))
        mistakes += _sentences(f"model {model}, data set {dataset}", data, rows, dropped)
    if mistakes:
        raise UserError(*dict.fromkeys(mistakes))


def transcript_cautions(sources: Sources) -> list[str]:
    """A sentence where dialogues written out as text meet a model that has a chat template."""
    chatty = [name for name, source in sources.models.items() if _has_template(source)]
    dialogues = [
        name for name, data in sources.datasets.items()
        if chatty and data.transcripts == "text" and Path(data.path).exists() and _is_of_transcripts(data)
    ]  # fmt: skip
    return [
        f"data set {dataset} holds dialogues of Human: and Assistant: as plain text, and {', '.join(chatty)} has a "
        "chat template; transcripts: messages makes it read them as a conversation"
        for dataset in dialogues
    ]  # fmt: skip


def copy_cautions(sources: Sources) -> list[str]:
    """A sentence for each local copy of a data set of the hub that goes in keys by the bytes of its files."""
    return [
        f"data set {name} is a local copy of {data.copy_of} with keys of its own; `rows: {rows_digest(data)}` beside "
        "its path gives it one key wherever the same rows are read from"
        for name, data in sources.datasets.items() if data.copy_of and not data.content.startswith(ROWS)
    ]  # fmt: skip


def _meetings(plan: Plan) -> Iterator[tuple[str, str, Lengths]]:
    found = {(c.model, c.dataset, plan.nodes[c.stages["train"]].spec.recipe.lengths) for c in plan.cells}
    yield from sorted(found, key=str)


def _surely_fits(pair: Pair, lengths: Lengths) -> bool:
    """Whether a tokenizer of bytes leaves room behind the prompt even if no two of them make a token."""
    turns = len(pair.prompt.messages) if isinstance(pair.prompt, Chat) else 0
    is_text = isinstance(pair.chosen, str) and isinstance(pair.rejected, str)
    return is_text and len(plain(pair.prompt).encode()) + turns < lengths.max_length


@lru_cache(maxsize=8)
def _tokenizer(source: ModelSource, data: DataSource) -> Tokenizer:
    from gatebench.bench.models import ladder
    from gatebench.bench.models.loading import tokenizer_at

    if source.parts:
        return gguf_tokenizer(source)
    found: Tokenizer = (
        ladder.make_tokenizer(load_corpus(data)) if source.is_builtin else tokenizer_at(source.path, source.revision)
    )
    return found


def _sentences(place: str, data: DataSource, rows: tuple[Pair, ...], dropped: list[Dropped]) -> Iterator[str]:
    if not dropped:
        return
    with_system = {
        pair.place for pair in rows
        if isinstance(pair.prompt, Chat) and pair.prompt.messages[0].role in ("system", "developer")
    }  # fmt: skip
    refused = [row for row in dropped if row.place in with_system and REFUSES in row.reason]
    if refused:
        yield (
            f"{place}: {refused[0].place}: {refused[0].reason}; {len(refused)} rows begin with a system's turn, which "
            "this model does not take. Put its text into the first user's turn, or leave these rows out"
        )
    elif len(dropped) > data.max_dropped * len(rows):
        first = next((row for row in dropped if OUT_OF_BOUNDS in row.reason), dropped[0])
        remedy = (
            "Mend the template that the model comes with, or take another model" if OUT_OF_BOUNDS in first.reason
            else "Mend them, or raise train.max_length or the data set's max_dropped"
        )  # fmt: skip
        yield (
            f"{place}: {first.place}: {first.reason}; {len(dropped)} of {len(rows)} training rows cannot be "
            f"used, more than the {data.max_dropped:.0%} allowed. {remedy}"
        )


def _has_template(source: ModelSource) -> bool:
    """Whether a local model brings a chat template of its own (its file is read, transformers is not loaded)."""
    if source.parts:
        return has_template(source)
    folder = Path(source.path)
    if (folder / "chat_template.jinja").exists():
        return True
    try:
        return '"chat_template"' in (folder / "tokenizer_config.json").read_text(encoding="utf-8")
    except OSError:
        return False


def _is_of_transcripts(data: DataSource) -> bool:
    prompts = [pair.prompt for pair in load(data).train[:100]]
    return bool(prompts) and all(isinstance(prompt, str) and is_transcript(prompt) for prompt in prompts)
