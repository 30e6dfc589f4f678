"""`builtin:toolbox`: short instructions with one right answer, generated from a seed and graded exactly.

Every response ends in its answer, so `grade` needs no judge: it reads the answer at the end of a
response and compares it with the one it computes from the prompt.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from gatebench.bench.data import probes
from gatebench.bench.data.pairs import NEAR_MISS, WORDED_APART, Draw, Pair, PreferenceData, Probe
from gatebench.bench.data.toolbox_questions import IN_TURN, Question, family_named, question
from gatebench.bench.data.wording import CURT, LONG, TALKATIVE, put

VERSION = 2
STYLES = ("plain", "semantic", "format")
APART = (LONG, CURT)  # styles of the two sides of a pair that is worded apart
NEAR_SHARE = 0.5  # of the pairs, near misses
CORPUS_STYLES = ("plain",) * 4 + ("semantic", "format", TALKATIVE, LONG, CURT, CURT)
MISS_SHARE = 0.1  # of the corpus's answers, wrong


def as_prompt(instruction: str) -> str:
    return f"Question: {instruction}\nAnswer:"


def asked_in(prompt: object) -> Question:
    """The question of a toolbox prompt."""
    return question(str(prompt).removeprefix("Question: ").removesuffix("\nAnswer:"))


def grade(prompt: str, response: str) -> bool:
    """Whether a response to a toolbox prompt ends in the right answer; exact, no judge."""
    asked = asked_in(prompt)
    found = re.search(rf"(?:^|(?<=\s))({family_named(asked.family).pattern})[.!]?\s*$", response)
    return bool(found) and found.group(1) == asked.answer  # type: ignore[union-attr]


def sentence(asked: Question, answer: str, style: str) -> str:
    """One way to put an answer: "plain", "semantic" (other words) or "format" (another form)."""
    plain, semantic = family_named(asked.family).leads
    if style == "format":
        return f" Answer: {answer}"
    return f" {plain if style == 'plain' else semantic} {answer}."


def candidates(prompt: str) -> tuple[str, ...]:
    """Every answer, right one first, in every style: the enumerable responses to a prompt."""
    asked = asked_in(prompt)
    answers = (asked.answer, *asked.misses)
    return tuple(sentence(asked, answer, style) for style in STYLES for answer in answers)


def instructions(seed: int) -> Iterator[str]:
    """Distinct instructions for ever, the families in turn; a family that runs out is passed over."""
    rng, seen = random.Random(f"toolbox/{VERSION}/{seed}"), set[str]()
    while True:
        for family in IN_TURN:
            for _ in range(20):
                instruction = family.make(rng)
                if instruction not in seen:
                    seen.add(instruction)
                    yield instruction
                    break


def _pair(instruction: str) -> Pair:
    """Of one kind or the other, as likely; worded apart, either side is the talkative one."""
    asked, rng = question(instruction), random.Random(instruction)
    miss = rng.choice(asked.misses)
    if rng.random() < NEAR_SHARE:
        chosen, rejected = (sentence(asked, answer, "plain") for answer in (asked.answer, miss))
        return Pair(as_prompt(instruction), chosen, rejected, kind=NEAR_MISS)
    styles = rng.sample(APART, 2)
    chosen, rejected = (put(answer, style, rng) for answer, style in zip((asked.answer, miss), styles, strict=True))
    return Pair(as_prompt(instruction), chosen, rejected, kind=WORDED_APART)


def _probe(pair: Pair, train: list[Pair], test: list[Pair], rng: random.Random) -> Probe:
    asked = asked_in(pair.prompt)
    miss = next(m for m in asked.misses if re.search(rf" {re.escape(m)}\.$", str(pair.rejected)))
    styled = {
        f"{side}_{style}": sentence(asked, answer, style)
        for side, answer in (("chosen", asked.answer), ("reject", miss))
        for style in ("semantic", "format")
    }
    others = {
        f"other_{style}_{number}": sentence(asked, answer, style)
        for number, answer in enumerate(answer for answer in asked.misses if answer != miss)
        for style in STYLES
    }
    responses = {"chosen": pair.chosen, "rejected": pair.rejected, **styled, **others}
    return Probe(pair.prompt, {**responses, **probes.unrelated(pair, train, test, rng)}, pair.kind)


def _corpus_line(instruction: str, rng: random.Random) -> str:
    """A solved example in any style; some with a near miss, so that misses are not unthinkable."""
    asked = question(instruction)
    answer = rng.choice(asked.misses) if rng.random() < MISS_SHARE else asked.answer
    style = rng.choice(CORPUS_STYLES)
    text = sentence(asked, answer, style) if style in STYLES else put(answer, style, rng)
    return as_prompt(instruction) + text


def load_toolbox(train: int, test: int, probe_count: int, seed: int = 0, draw: Draw | None = None) -> PreferenceData:
    """train and test pairs and probes over both; no prompt in two of them. draw: makes the training pairs after the
    first `kept` others."""
    made = _made(train, test, probe_count, 0, seed)[0]
    if draw is None:
        return made
    kept = made.train[: draw.kept]
    known = {pair.prompt for pair in (*kept, *made.test)}
    others = (pair for pair in map(_pair, instructions(draw.seed)) if pair.prompt not in known)
    return replace(made, train=(*kept, *islice(others, train - len(kept))))


def toolbox_corpus(train: int, test: int, probe_count: int, corpus: int, seed: int = 0) -> tuple[str, ...]:
    """As many solved examples, none of which has a prompt of `load_toolbox` with the same numbers."""
    return _made(train, test, probe_count, corpus, seed)[1]


def _made(train: int, test: int, probe_count: int, corpus: int, seed: int) -> tuple[PreferenceData, tuple[str, ...]]:
    source = instructions(seed)
    train_rows = [_pair(next(source)) for _ in range(train)]
    test_rows = [_pair(next(source)) for _ in range(test)]
    rng = random.Random(f"toolbox/probes/{seed}")
    split = {"train": train_rows, "test": test_rows}
    made = {
        name: tuple(_probe(row, train_rows, test_rows, rng) for row in rows[:probe_count])
        for name, rows in split.items()
    }
    lines = [_corpus_line(next(source), rng) for _ in range(corpus)]
    lines += [text for text in probes.HUMAN for _ in range(max(1, corpus // 400))]
    # without them random words would be so improbable that their log-prob only wanders
    lines += [probes.random_words(rng.randint(3, 20), rng) for _ in range(corpus // 50)]
    rng.shuffle(lines)
    return PreferenceData(tuple(train_rows), tuple(test_rows), made), tuple(lines)
