"""A commented suite for a user's own pairs, from what was seen of them. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gatebench.bench.data.recognition import Recognised

BYTES_A_TOKEN = 3  # of text under a tokenizer of 2,048 entries that was trained on it; HH has 3.2
FEWEST_PAIRS, MOST_TRAINED, MOST_TESTED, MOST_PROBES = 20, 5000, 200, 200  # pairs
BASE_PASSES, FEWEST_TOKENS, MOST_TOKENS = 4, 200_000, 2_500_000  # of pre-training, over the data's own text
MOST_TOKENS_A_ROW, LONGEST_PROMPT, STEP = 256, 160, 32  # tokens, and what lengths are rounded up to
BATCH, FEWEST_STEPS, MOST_STEPS, PASSES = 8, 24, 240, 3
ALLOWED_BAD = 0.05  # of the rows, without a word in the suite


@dataclass(frozen=True)
class Sizes:
    """Lengths in tokens; tokens: of pre-training; context: of its rows."""

    train: int
    test: int
    prompt: int
    whole: int
    tokens: int
    context: int
    steps: int


def sizes_of(seen: Recognised) -> Sizes:
    """What suits the data: minutes on two cores, whatever the file's size."""
    test = min(MOST_TESTED, max(4, seen.usable // 5))
    train = min(MOST_TRAINED, seen.usable - test)
    prompt = min(LONGEST_PROMPT, _rounded(_most(seen.prompts)))
    whole = min(MOST_TOKENS_A_ROW, prompt + _rounded(_most(seen.responses)))
    corpus = seen.bytes // BYTES_A_TOKEN
    tokens = min(MOST_TOKENS, max(FEWEST_TOKENS, BASE_PASSES * corpus))
    context = next((length for length in (256, 128) if corpus >= 64 * length), 64)
    steps = min(MOST_STEPS, max(FEWEST_STEPS, PASSES * train // BATCH)) // 4 * 4
    return Sizes(train, test, prompt, whole, tokens // 1000 * 1000, context, steps)


def _most(lengths: Sequence[int]) -> int:
    """Tokens that 95 in 100 of the texts, given by their bytes, do not exceed."""
    return lengths[int(0.95 * (len(lengths) - 1))] // BYTES_A_TOKEN + 1


def _rounded(tokens: int) -> int:
    return -(-tokens // STEP) * STEP


def as_name(text: str) -> str:
    """A text as a name of a suite or data set."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "mine"


def propose(name: str, path: str, seen: Recognised) -> str:
    """The suite's text. path: of the data, as the suite is to name it."""
    sizes = sizes_of(seen)
    data = [f"path: {_quoted(path)}", f"train: {sizes.train}", f"test: {sizes.test}  # held out, never trained on"]
    if seen.columns:
        data.append(f"columns: {{{', '.join(f'{ours}: {_quoted(own)}' for ours, own in seen.columns.items())}}}")
    share = seen.bad / (seen.usable + seen.bad)
    if share > ALLOWED_BAD:
        data.append(f"max_dropped: {min(1.0, share + ALLOWED_BAD):.2f}  # {seen.bad} rows cannot be used")
    data_name = as_name(path.rpartition("/")[2].partition(".")[0])
    return SUITE_TEXT.format(
        name=name, data="\n    ".join(data), data_name=data_name, sizes=sizes, probes=min(MOST_PROBES, sizes.train),
        every=sizes.steps // 4,
    )  # fmt: skip


def _quoted(text: str) -> str:
    """A text as YAML reads it back, whatever it holds."""
    return json.dumps(text, ensure_ascii=False)


SUITE_TEXT = """# Made by `bench init` from what it saw in your data; every line may be changed.
# `bench plan` says what would run; `bench run` trains, measures and compares, and goes on where it was stopped.
name: {name}

# Two small models that are trained from scratch on your own text, on any processor. Your own instead: a hub id or a
# folder, as in [Qwen/Qwen2.5-0.5B-Instruct]; then `base` has no effect and learning rates from 5e-7 to 5e-6 suit.
models: [builtin:ladder/neox-0.3m, builtin:ladder/neox-1.3m]

datasets:
  - name: {data_name}
    {data}

objectives: [dpo]  # docs/remedies.md lists the others

gates:
  - none
  - {{kind: seq, alpha: 5/tau, tau: q50}}  # tau: the median probability of your rejected responses, measured
  - {{kind: constant, of: seq}}  # the control: the gate's mean weight for every pair

seeds: [0, 1, 2]  # how far runs differ; [0] costs a third and does not say

base: {{tokens: {sizes.tokens}, learning_rate: 2e-3, batch_size: 16, context: {sizes.context}}}  # by your data's size
warmup: {{epochs: 2, learning_rate: 5e-4, batch_size: 16}}  # supervised, on the chosen responses
train:
  steps: {sizes.steps}
  batch_size: 8
  learning_rate: 5e-4
  warmup_steps: 10
  max_length: {sizes.whole}  # prompt and response, in tokens
  max_prompt_length: {sizes.prompt}
  evaluate_every: {every}
evaluate:
  dynamics: {{probes: {probes}}}

claims:  # written before the run, judged after it; on held-out prompts, since training ones are soon memorised
  - name: the gate raises held-out Δ chosen
    metric: test_delta_chosen
    contrast: {{gate: [seq, none]}}
    by: [model, objective]
    expect: greater
  - name: the gate does more than a constant of its mean
    metric: test_delta_chosen
    contrast: {{gate: [seq, constant]}}
    by: [model, objective]
    expect: greater
"""
