"""The answers of a policy to held-out prompts, by vLLM or transformers; without a `train` input the reference's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.data.pairs import Text
from gatebench.bench.data.questions import OpenQuestion, asked_like, read_questions
from gatebench.bench.data.source import CHANGED, TOOLBOX, DataSource, file_digest
from gatebench.bench.engines.sampling import Answer, Sampling
from gatebench.bench.errors import UserError
from gatebench.bench.models.encoding import Lengths
from gatebench.bench.stages.finite import check_finite
from gatebench.bench.stages.stage import (
    ANSWER_COPIES,
    BYTES,
    CAUTIONS,
    FORWARD,
    SCORED,
    Amount,
    Facts,
    Inputs,
    Report,
    Stage,
)

if TYPE_CHECKING:
    import pandas

    from gatebench.bench.models.encoding import Encoder
    from gatebench.objectives.causal_lm import CausalLM, Tokenizer

VERSION = 2
ANSWERS_FILE = "generations.parquet"
SERVED = 256  # answers that vLLM writes together, its default
PROOF_PROMPTS = 4  # prompts that a swapped engine has to score as transformers does


@dataclass(frozen=True)
class Spec:
    """backend: "transformers", or vLLM with its version, which is part of what makes the answers; asked: the suite's
    wish, where vLLM is not installed. questions: a file of prompts in place of the data set's held-out ones, for which
    questions_content stands in keys; samples: answers to each prompt."""

    backend: str
    sampling: Sampling
    prompts: int
    lengths: Lengths
    dtype: str
    data: DataSource
    asked: str = field(default="", metadata={"key": False})
    questions: str = field(default="", metadata={"key": False})
    questions_content: str = field(default="", metadata={"key": "given"})
    samples: int = field(default=1, metadata={"key": "given"})


def run(spec: Spec, inputs: Mapping[str, Path], out: Path, report: Report) -> Facts:
    """generations.parquet: prompt (its index), text, messages (JSON of [role, content] of a conversation, else of
    nothing), response, tokens, finish_reason, log_prob, ids and, where answers are graded exactly, passed; of questions
    from a file also uid, question, category and, where the file says it, difficulty; of several samples a row each,
    with their number as sample.

    Raises StageFailed for log-probs that are not numbers.
    """
    from gatebench.bench.models.encoding import Encoder, unread
    from gatebench.bench.models.loading import load_policy, load_tokenizer

    policy = inputs.get("train", inputs["policy"])
    tokenizer = load_tokenizer(policy)
    encoder = Encoder(tokenizer, spec.lengths)
    asked = _asked(spec)
    prompts = to_answer(asked.texts, encoder, spec.samples)
    left_out = unread(spec.data, "prompts to be answered", len(prompts) // spec.samples, len(asked.texts))
    model = load_policy(policy, spec.dtype).eval()
    cautions = [*left_out, *asked.cautions]
    facts: Facts = {"backend": spec.backend, CAUTIONS: cautions}
    if spec.backend == "transformers":
        answers = _by_transformers(model, tokenizer, [own.ids for own in prompts], spec, report)
    else:
        answers = _by_vllm(model, tokenizer, [own.ids for own in prompts], spec, out, report, facts, cautions)
    frame = answer_table(prompts, answers, spec, graded=not asked.questions)
    if asked.questions:
        frame = frame.join(_columns([asked.questions[own.number] for own in prompts]))
    frame.to_parquet(out / ANSWERS_FILE)
    return {**facts, "tokens": int(frame["tokens"].sum()), "prompts": len(frame) // spec.samples}


@dataclass(frozen=True)
class ToAnswer:
    """A prompt as a model gets it, once for each answer. number: its place among the prompts."""

    number: int
    text: Text
    ids: list[int]


def to_answer(texts: Sequence[Text], encoder: Encoder, samples: int) -> list[ToAnswer]:
    """Those that can be encoded, each as often as it is answered."""
    kept = [ToAnswer(i, text, ids) for i, text in enumerate(texts) if (ids := encoder.prompt(text)) is not None]
    return [own for own in kept for _ in range(samples)]


def answer_table(prompts: Sequence[ToAnswer], answers: Sequence[Answer], spec: Spec, graded: bool) -> pandas.DataFrame:
    """The table of `run`, an answer a row. graded: whether answers are, where the data set can. Raises StageFailed as
    there."""
    import pandas

    from gatebench.bench.data.pairs import plain
    from gatebench.bench.data.toolbox import grade

    check_finite([answer.log_prob for answer in answers], "answers")
    frame = pandas.DataFrame({
        "prompt": [own.number for own in prompts], "text": [plain(own.text) for own in prompts],
        "messages": [json.dumps(_turns(own.text)) for own in prompts],
        "response": [answer.text for answer in answers], "tokens": [len(answer.tokens) for answer in answers],
        "finish_reason": [answer.finish_reason for answer in answers],
        "log_prob": [answer.log_prob for answer in answers], "ids": [list(answer.tokens) for answer in answers],
    })  # fmt: skip
    if spec.samples > 1:
        frame["sample"] = [place % spec.samples for place in range(len(frame))]
    if graded and spec.data.path == TOOLBOX:
        frame["passed"] = [grade(str(own.text), a.text) for own, a in zip(prompts, answers, strict=True)]
    return frame


def first_answers(folder: Path) -> pandas.DataFrame:
    """The table of a finished stage with one row a prompt: of several samples the first."""
    import pandas

    frame = pandas.read_parquet(folder / ANSWERS_FILE)
    return frame[frame["sample"] == 0] if "sample" in frame else frame


@dataclass(frozen=True)
class _Texts:
    """The prompts to be answered; questions: of a file, in the same order."""

    texts: Sequence[Text]
    questions: Sequence[OpenQuestion] = ()
    cautions: Sequence[str] = ()


def _asked(spec: Spec) -> _Texts:
    """Raises UserError where a file of questions is not what was planned with."""
    from gatebench.bench.data.adapters import load

    rows = load(spec.data)
    if not spec.questions:
        return _Texts([row.prompt for row in rows.test[: spec.prompts]])
    file = Path(spec.questions)
    if file_digest(spec.questions) != spec.questions_content:
        raise UserError(f"{file}: {CHANGED}")
    found = read_questions(file)
    questions = found[: spec.prompts]
    fewer = (
        f"{len(questions)} of the {len(found)} questions of {file.name} are asked; evaluate.generate.prompts says how "
        "many"
    )
    texts = [asked_like(question.text, rows.train[0].prompt) for question in questions]
    return _Texts(texts, questions, [fewer] if len(questions) < len(found) else [])


def _columns(questions: Sequence[OpenQuestion]) -> pandas.DataFrame:
    """What a file says of its questions; difficulties only where all have one."""
    import pandas

    found = pandas.DataFrame({
        "uid": [question.uid for question in questions], "question": [question.text for question in questions],
        "category": [question.category for question in questions],
        "difficulty": [question.difficulty for question in questions],
    })  # fmt: skip
    return found if found["difficulty"].notna().all() else found.drop(columns="difficulty")


def _turns(prompt: Text) -> list[tuple[str, str]]:
    return [] if isinstance(prompt, str) else [(message.role, message.content) for message in prompt.messages]


def _by_transformers(
    model: CausalLM, tokenizer: Tokenizer, prompts: Sequence[list[int]], spec: Spec, report: Report
) -> list[Answer]:
    from gatebench.bench.engines import transformers

    return transformers.generate(
        model, tokenizer, prompts, spec.sampling, lambda share: report(share, "answers by transformers")
    )


def _by_vllm(
    model: CausalLM,
    tokenizer: Tokenizer,
    prompts: Sequence[list[int]],
    spec: Spec,
    out: Path,
    report: Report,
    facts: Facts,
    cautions: list[str],
) -> list[Answer]:
    """Falls back to transformers where vLLM cannot serve the model, and says so in facts and cautions."""
    from gatebench.bench.engines import transformers, vllm

    report(0.0, "vLLM takes the weights (a first start takes about half a minute)")
    room = max(map(len, prompts), default=1) + spec.sampling.max_tokens
    try:
        engine, facts["engine"] = vllm.serve_model(
            model, tokenizer, out, spec.dtype, -(-room // 64) * 64, prompts[:PROOF_PROMPTS]
        )
        report(0.3, "answers by vLLM")
        ends = transformers.end_tokens(model, tokenizer, spec.sampling.stop)
        return engine.generate(prompts, spec.sampling, ends, apart=spec.samples > 1)
    except vllm.VllmFailed as failure:
        cautions.append(f"{model.config.model_type} was not served by vLLM ({failure}); transformers generated")
        facts["backend"] = "transformers"
        return _by_transformers(model, tokenizer, prompts, spec, report)


def amount(spec: Spec, inputs: Inputs, pairs: int | None) -> Amount:
    most = (spec.lengths.max_prompt_length or spec.lengths.max_length) + spec.sampling.max_tokens
    at_once = SCORED if spec.backend == "transformers" else SERVED
    return Amount(spec.prompts * spec.samples, most, FORWARD, at_once * most, 0, 0, (spec.backend, spec.sampling),
                  held=BYTES[spec.dtype], logits=SCORED * spec.sampling.max_tokens, copies=ANSWER_COPIES,
                  at_once=at_once, writes=spec.sampling.max_tokens)  # fmt: skip


def shorten(spec: Spec, steps: int, copy: int) -> Spec:
    return replace(spec, prompts=steps, data=spec.data.shortened(steps))


def by_prompt(folder: Path, inputs: Mapping[str, Path]) -> pandas.DataFrame:
    """The metrics of the answers, with the change against the reference policy's own."""
    from gatebench.bench.metrics.answers import against

    files = [place / ANSWERS_FILE for place in (folder, inputs["start"])]
    own, reference = (_measured(file, file.stat().st_mtime_ns) for file in files)
    return against(own, reference).rename_axis("prompt").reset_index().assign(split="generation")


@lru_cache(maxsize=64)  # cells share their reference answers, and samples take a second to compare
def _measured(file: Path, written: int) -> pandas.DataFrame:
    """The metrics of a table of answers; written: when, so that another one of its name is read anew."""
    import pandas

    from gatebench.bench.metrics.answers import answer_metrics

    return answer_metrics(pandas.read_parquet(file))


STAGE = Stage("generate", VERSION, Spec, run, amount, facts=("backend", "engine"), artifacts=(ANSWERS_FILE,),
              shorten=shorten, by_prompt=by_prompt)  # fmt: skip
