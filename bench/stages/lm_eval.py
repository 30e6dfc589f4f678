"""lm-eval's tasks on a trained policy, by its own API; its results are kept whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gatebench.bench import keys
from gatebench.bench.data import toolbox
from gatebench.bench.data.source import CHANGED, file_digest
from gatebench.bench.errors import StageFailed, UserError
from gatebench.bench.metrics.tasks import ValueWithError, sample_rows, task_items, task_metrics
from gatebench.bench.models import ladder
from gatebench.bench.models.chat_template import Rendering, TemplateRefused
from gatebench.bench.stages.stage import (
    BYTES,
    CAUTIONS,
    FORWARD,
    SCORE_COPIES,
    SCORED,
    Amount,
    Facts,
    Inputs,
    Report,
    Stage,
)

if TYPE_CHECKING:
    import pandas
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from gatebench.objectives.causal_lm import Tokenizer

VERSION = 4
RESULTS_FILE = "results.json"
ITEMS_FILE = "items.parquet"
LM_EVAL_SEED = 1234  # lm-eval's own default
SHIPPED = Path(__file__).parents[1] / "data/tasks"
# Stands for what the shipped questions.py asks, however it is written: to be changed with its documents (a test).
QUESTIONS_DIGEST = "450d41e0b9a31864a3de334e1c21ac1e7ba5f19bfd59b4625bee657c91cd1b4c"
PROOF_TEXTS = (
    "The first of a few texts that a warm engine has to score as transformers does.", "Question: 1 + 1?\nAnswer:",
)  # fmt: skip
OPTIONS = ("num_fewshot", "apply_chat_template", "fewshot_as_multiturn", "system_instruction")
WITHOUT_TEMPLATE = (
    "the model has a chat template and lm-eval's tasks were asked without it; say which you want with "
    "evaluate.lm_eval.apply_chat_template: true or false"
)
RUNS_ANSWERS = (
    "It runs what the model writes, and no such task (humaneval, mbpp) is run here; leave it out of "
    "evaluate.lm_eval.tasks"
)
SEEDS = ("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed")
EVALUATION = ("gen_kwargs", "samples", "bootstrap_iters", *SEEDS)
MODEL_OPTIONS = (
    "batch_size", "max_length", "add_bos_token", "enable_thinking", "think_end_token", "chat_template_args",
)  # fmt: skip
# What an engine's answers follow of a task's gen_kwargs, by all of lm-eval's names for it.
SERVED_GENERATION = {
    "until", "temperature", "top_p", "do_sample", "max_gen_toks", "max_new_tokens", "max_tokens",
    "max_completion_tokens",
}  # fmt: skip
LONGEST_ROW = 2048  # tokens of a prompt and its answer, where the model has room for more


@dataclass(frozen=True)
class Spec:
    """tasks: names; content: digest of the shipped task files and of those in include_path; version: of lm-eval;
    backend: "hf", or vLLM with its version; evaluation: arguments of simple_evaluate by its names, as those before it
    where they are given; model: arguments of lm-eval's hf model."""

    tasks: tuple[str, ...]
    content: str
    limit: int | None
    dtype: str
    version: str
    backend: str = "hf"
    include_path: str | None = field(default=None, metadata={"key": False})
    data: None = None
    num_fewshot: int | None = field(default=None, metadata={"key": "given"})
    apply_chat_template: bool | None = field(default=None, metadata={"key": "given"})
    fewshot_as_multiturn: bool | None = field(default=None, metadata={"key": "given"})
    system_instruction: str | None = field(default=None, metadata={"key": "given"})
    evaluation: Mapping[str, object] = field(default_factory=dict, metadata={"key": "given"})
    model: Mapping[str, object] = field(default_factory=dict, metadata={"key": "given"})


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    """results.json: lm-eval's own; items.parquet: name of a metric, item, value (`tasks.sample_rows`).

    Raises StageFailed for a task that lm-eval does not know, for one that runs what the model writes, and for a chat
    template that the policy has not, or that takes too much.
    """
    import pandas
    from lm_eval import simple_evaluate

    report(0.0, "lm-eval " + " ".join(spec.tasks))
    if spec.include_path and content_of_tasks(spec.include_path) != spec.content:
        raise UserError(f"{spec.include_path}: {CHANGED}")
    manager = _manager(spec.include_path, spec.content)
    unknown = [task for task in spec.tasks if not manager.match_tasks([task])]
    if unknown:
        raise StageFailed(f"lm-eval knows no task {unknown[0]!r}; see `lm-eval ls tasks`, or give include_path")
    facts: Facts = {"tasks": list(spec.tasks), "backend": spec.backend}
    model, told = _model(inputs.get("train", inputs["policy"]), spec, out, facts)
    template = model.tokenizer.chat_template
    if spec.apply_chat_template and not template:
        raise StageFailed("apply_chat_template: the policy's tokenizer has no chat template")
    if spec.apply_chat_template:
        _try_template(model.tokenizer, spec.system_instruction)
    if spec.apply_chat_template is None and template not in (None, ladder.CHAT):
        told.append(WITHOUT_TEMPLATE)
    given = {name: value for name in OPTIONS if (value := getattr(spec, name)) is not None}
    try:
        found: dict[str, object] = simple_evaluate(
            model=model, tasks=list(spec.tasks), task_manager=manager, limit=spec.limit, log_samples=True,
            **{**dict.fromkeys(SEEDS, LM_EVAL_SEED), **given, **spec.evaluation},  # without confirm_run_unsafe_code
        )  # fmt: skip
    except ValueError as refused:  # lm-eval says so by no class of its own
        said, marked, _ = str(refused).partition("marked as unsafe.")
        if not marked:
            raise
        raise StageFailed(f"{said}{marked} {RUNS_ANSWERS}") from None
    rows = sample_rows(cast("Mapping[str, Sequence[Mapping[str, object]]]", found["samples"]))
    pandas.DataFrame(rows, columns=["name", "item", "value"]).to_parquet(out / ITEMS_FILE)
    results = {name: value for name, value in found.items() if name != "samples"}
    (out / RESULTS_FILE).write_text(json.dumps(results, default=str, indent=1), encoding="utf-8")
    shots = cast("Mapping[str, int]", found.get("n-shot", {}))
    kept = sorted(task for task, number in shots.items() if spec.num_fewshot not in (None, number))
    if kept:
        told.append(f"num_fewshot {spec.num_fewshot}: {kept[0]} keeps the {shots[kept[0]]} that its task file says")
    return {**facts, CAUTIONS: told}


def content_of_tasks(include_path: str | None) -> str:
    """A digest of the shipped task files and of those in a folder."""
    own = [QUESTIONS_DIGEST, *(file_digest(str(file)) for file in sorted(SHIPPED.glob("*.yaml")))]
    return keys.digest([toolbox.VERSION, *own, file_digest(include_path) if include_path else ""])


def _try_template(tokenizer: Tokenizer, system: str | None) -> None:
    """lm-eval renders its prompts without bounds: the first of them here, within ours. Raises StageFailed."""
    turns = [{"role": "system", "content": system}] if system else []
    try:
        Rendering(tokenizer)([*turns, {"role": "user", "content": PROOF_TEXTS[1]}], generate=True)
    except TemplateRefused as error:
        raise StageFailed(f"apply_chat_template: {error}") from None


@cache
def _manager(include_path: str | None, content: str) -> TaskManager:
    """lm-eval's index of tasks, which takes seconds to read; content: a changed task file is read again."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=[str(SHIPPED), *([include_path] if include_path else [])])


def _model(policy: Path, spec: Spec, out: Path, facts: Facts) -> tuple[HFLM, list[str]]:
    """lm-eval's model and cautions; falls back to its hf backend where vLLM cannot serve the policy, and says so."""
    from lm_eval.models.huggingface import HFLM

    from gatebench.bench.engines import lm_eval_model, transformers, vllm
    from gatebench.bench.models.loading import load_policy, load_tokenizer

    model, tokenizer = load_policy(policy, spec.dtype).eval(), load_tokenizer(policy)
    shared: dict[str, object] = {"pretrained": model, "tokenizer": tokenizer, "batch_size": 16, **spec.model}
    if spec.backend == "hf":
        return HFLM(**shared), []
    unserved = set(cast("Mapping[str, object]", spec.evaluation.get("gen_kwargs", {}))) - SERVED_GENERATION
    if unserved:
        facts["backend"] = "hf"
        return HFLM(**shared), [
            f"gen_kwargs: {min(unserved)} is none that vLLM is asked with; transformers did the tasks"
        ]
    proofs = [tokenizer(text)["input_ids"] for text in PROOF_TEXTS]
    # some have no end: a recurrent model, or one that weighs by distance
    longest = cast(int, spec.model.get("max_length", LONGEST_ROW))
    room = min(getattr(model.config.get_text_config(), "max_position_embeddings", longest), longest)
    try:
        engine, facts["engine"] = vllm.serve_model(model, tokenizer, out, spec.dtype, room, proofs)
        return lm_eval_model.make_model(engine, transformers.end_tokens(model, tokenizer), **shared), []
    except vllm.VllmFailed as failure:
        sentence = f"{model.config.model_type} was not served by vLLM ({failure}); transformers did the tasks"
        facts["backend"] = "hf"
        return HFLM(**shared), [sentence]


# Of a task whose size nobody said: as large as HellaSwag (10,042 questions of four choices), read whole for each.
QUESTIONS_A_TASK, ANSWERS_A_QUESTION, QUESTION_TOKENS = 10_000, 4, 100


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount:
    questions = len(spec.tasks) * (spec.limit or QUESTIONS_A_TASK)
    tokens = QUESTION_TOKENS * (1 + (spec.num_fewshot or 0))
    batch = SCORED * tokens
    return Amount(questions, ANSWERS_A_QUESTION * tokens, FORWARD, batch, 0, 0, (spec.tasks, spec.content),
                  held=BYTES[spec.dtype], logits=batch, copies=SCORE_COPIES)  # fmt: skip


def shorten(spec: Spec, steps: int, copy: int) -> Spec:
    return replace(spec, limit=steps)


def with_errors(folder: Path) -> Mapping[str, ValueWithError]:
    return task_metrics(json.loads((folder / RESULTS_FILE).read_text()))


def by_item(folder: Path) -> Mapping[str, pandas.Series[float]]:
    import pandas

    return task_items(pandas.read_parquet(folder / ITEMS_FILE), with_errors(folder))


STAGE = Stage("lm_eval", VERSION, Spec, run, amount, facts=("backend", "engine"), shorten=shorten,
              with_errors=with_errors, by_item=by_item)  # fmt: skip
