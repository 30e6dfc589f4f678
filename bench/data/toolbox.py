"""`builtin:toolbox`: short instructions with one right answer, generated from a seed and graded exactly.

Every response ends in its answer, so `grade` needs no judge: it reads the answer at the end of a
response and compares it with the one it computes from the prompt.
"""

from __future__ import annotations

import calendar
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from gatebench.bench.data import probes
from gatebench.bench.data.pairs import Draw, Pair, PreferenceData, Probe

VERSION = 1
DAYS = tuple(calendar.day_name)
MONTHS = tuple(calendar.month_name)[1:]
TOOLBOX_WORDS = """
    garden planet window silver basket candle forest market pencil rabbit summer tunnel bridge camera dragon
    engine flower guitar hammer island jacket kitten lemon mirror needle orange pocket quiver ribbon spider
    ticket valley walnut yellow zipper anchor butter castle desert escape finger glacier
""".split()
UNITS = (
    ("kilometres", "metres", 1000), ("metres", "centimetres", 100), ("hours", "minutes", 60),
    ("minutes", "seconds", 60), ("kilograms", "grams", 1000), ("days", "hours", 24),
    ("weeks", "days", 7), ("years", "months", 12),
)  # fmt: skip


STYLES = ("plain", "semantic", "format")


@dataclass(frozen=True)
class Question:
    """An instruction, its right answer and its plausible near misses, best first."""

    family: str
    instruction: str
    answer: str
    misses: tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """make draws a question; read finds the right answer again from the instruction; pattern is what an
    answer looks like; lead is how a sentence about it begins."""

    name: str
    make: Callable[[random.Random], str]
    read: re.Pattern[str]
    solve: Callable[..., tuple[str, tuple[str, ...]]]
    pattern: str
    leads: tuple[str, str]


def _number(value: int, *nearby: int) -> tuple[str, tuple[str, ...]]:
    return str(value), tuple(dict.fromkeys(str(n) for n in nearby if n != value and n >= 0))


def _add(a: str, b: str) -> tuple[str, tuple[str, ...]]:
    x = int(a) + int(b)
    return _number(x, x + 1, x + 10, x - 1, x - 10, abs(int(a) - int(b)))


def _subtract(a: str, b: str) -> tuple[str, tuple[str, ...]]:
    x = int(a) - int(b)
    return _number(x, x + 1, x + 10, x - 1, int(a) + int(b))


def _multiply(a: str, b: str) -> tuple[str, tuple[str, ...]]:
    x = int(a) * int(b)
    return _number(x, x + int(a), x - int(b), x + 1, int(a) + int(b))


def _convert(n: str, big: str, small: str) -> tuple[str, tuple[str, ...]]:
    factor = next(f for b, s, f in UNITS if (b, s) == (big, small))
    x = int(n) * factor
    return _number(x, x * 10, int(n) + factor, x + factor)


def _sort(numbers: str) -> tuple[str, tuple[str, ...]]:
    values = sorted(int(n) for n in numbers.split(", "))
    swapped = [values[1], values[0], *values[2:]]
    options = (values[::-1], swapped, values[1:] + values[:1])
    return ", ".join(map(str, values)), tuple(", ".join(map(str, option)) for option in options)


def _spell(word: str) -> tuple[str, tuple[str, ...]]:
    swapped = word[0] + word[2] + word[1] + word[3:]
    options = (swapped, word[:-1], word + word[-1])
    return "-".join(word), tuple("-".join(option) for option in options if option != word)


def _weekday(count: str, day: str) -> tuple[str, tuple[str, ...]]:
    start = DAYS.index(day)
    right = (start + int(count)) % 7
    return DAYS[right], tuple(DAYS[(right + step) % 7] for step in (1, 6, 2, 5, 3, 4))


def _larger(a: str, b: str) -> tuple[str, tuple[str, ...]]:
    return str(max(int(a), int(b))), (str(min(int(a), int(b))),)


def _letters(word: str) -> tuple[str, tuple[str, ...]]:
    n = len(word)
    return _number(n, n + 1, n - 1, n + 2)


def _date(year: str, month: str, day: str) -> tuple[str, tuple[str, ...]]:
    m, d = int(month), int(day)
    options = (f"{d} {MONTHS[m % 12]} {year}", f"{d + 1} {MONTHS[m - 1]} {year}", f"{m} {MONTHS[(d - 1) % 12]} {year}")
    right = f"{d} {MONTHS[m - 1]} {year}"
    return right, tuple(option for option in options if option != right)


def _reverse(words: str) -> tuple[str, tuple[str, ...]]:
    items = words.split(", ")
    options = (items, [items[-1], *items[:-1]], [items[1], items[0], *items[2:]])
    right = ", ".join(items[::-1])
    return right, tuple(w for w in (", ".join(option) for option in options) if w != right)


def _draw_convert(rng: random.Random) -> str:
    big, small, _ = rng.choice(UNITS)
    return f"Convert {rng.randint(2, 99)} {big} to {small}."


def _draw_larger(rng: random.Random) -> str:
    a, b = rng.sample(range(100, 1000), 2)
    return f"Which is larger, {a} or {b}?"


def _draw_date(rng: random.Random) -> str:
    return f"Write the date {rng.randint(1950, 2049)}-{rng.randint(1, 12):02d}-{rng.randint(1, 27):02d} in words."


def _draw_subtract(rng: random.Random) -> str:
    b, a = sorted(rng.sample(range(10, 100), 2))
    return f"What is {a} minus {b}?"


NUMBER, LIST = r"\d+", r"\w+(?:, \w+)+"
QUESTION_FAMILIES = (
    Family("addition", lambda r: f"What is {r.randint(10, 99)} plus {r.randint(10, 99)}?",
           re.compile(r"What is (\d+) plus (\d+)\?"), _add, NUMBER, ("The sum is", "Added together that makes")),
    Family("subtraction", _draw_subtract,
           re.compile(r"What is (\d+) minus (\d+)\?"), _subtract, NUMBER, ("The difference is", "What remains is")),
    Family("multiplication", lambda r: f"What is {r.randint(2, 99)} times {r.randint(2, 12)}?",
           re.compile(r"What is (\d+) times (\d+)\?"), _multiply, NUMBER, ("The product is", "Multiplied that gives")),
    Family("units", _draw_convert,
           re.compile(r"Convert (\d+) (\w+) to (\w+)\."), _convert, NUMBER, ("In the new unit it is", "That equals")),
    Family("sorting", lambda r: f"Sort from small to large: {', '.join(map(str, r.sample(range(10, 100), 4)))}.",
           re.compile(r"Sort from small to large: ([\d, ]+)\."), _sort, LIST, ("In order:", "From small to large:")),
    Family("spelling", lambda r: f"Spell the word {r.choice(TOOLBOX_WORDS)}.",
           re.compile(r"Spell the word (\w+)\."), _spell, r"\w(?:-\w)+", ("It is spelled", "Letter by letter:")),
    Family("calendar", lambda r: f"Which day comes {r.randint(1, 60)} days after {r.choice(DAYS)}?",
           re.compile(r"Which day comes (\d+) days after (\w+)\?"), _weekday, r"\w+day", ("It is a", "The day is")),
    Family("comparison", _draw_larger,
           re.compile(r"Which is larger, (\d+) or (\d+)\?"), _larger, NUMBER,
           ("The larger one is", "The bigger number is")),
    Family("counting", lambda r: f"How many letters are in the word {r.choice(TOOLBOX_WORDS)}?",
           re.compile(r"How many letters are in the word (\w+)\?"), _letters, NUMBER,
           ("Its letters number", "The count is")),
    Family("dates", _draw_date,
           re.compile(r"Write the date (\d+)-(\d+)-(\d+) in words\."), _date, r"\d+ \w+ \d{4}",
           ("In words it is", "Written out:")),
    Family("reversing", lambda r: f"Reverse this list: {', '.join(r.sample(TOOLBOX_WORDS, 3))}.",
           re.compile(r"Reverse this list: ([\w, ]+)\."), _reverse, LIST, ("Backwards it reads:", "In reverse:")),
)  # fmt: skip


def question(instruction: str) -> Question:
    """Solve an instruction of any family. Raises ValueError for text that is no toolbox instruction."""
    for family in QUESTION_FAMILIES:
        found = family.read.fullmatch(instruction)
        if found:
            answer, misses = family.solve(*found.groups())
            return Question(family.name, instruction, answer, misses)
    raise ValueError(f"not a toolbox instruction: {instruction!r}")


def as_prompt(instruction: str) -> str:
    return f"Question: {instruction}\nAnswer:"


def _family(name: str) -> Family:
    return next(family for family in QUESTION_FAMILIES if family.name == name)


def grade(prompt: str, response: str) -> bool:
    """Whether a response to a toolbox prompt ends in the right answer; exact, no judge."""
    instruction = prompt.removeprefix("Question: ").removesuffix("\nAnswer:")
    asked = question(instruction)
    found = re.search(rf"(?:^|(?<=\s))({_family(asked.family).pattern})[.!]?\s*$", response)
    return bool(found) and found.group(1) == asked.answer  # type: ignore[union-attr]


def sentence(asked: Question, answer: str, style: str) -> str:
    """One way to put an answer: "plain", "semantic" (other words) or "format" (another form)."""
    plain, semantic = _family(asked.family).leads
    if style == "format":
        return f" Answer: {answer}"
    return f" {plain if style == 'plain' else semantic} {answer}."


def candidates(prompt: str) -> tuple[str, ...]:
    """Every answer, right one first, in every style: the enumerable responses to a prompt."""
    asked = question(prompt.removeprefix("Question: ").removesuffix("\nAnswer:"))
    answers = (asked.answer, *asked.misses)
    return tuple(sentence(asked, answer, style) for style in STYLES for answer in answers)


def instructions(seed: int) -> Iterator[str]:
    """Distinct instructions for ever, the families in turn; a family that runs out is passed over."""
    rng, seen = random.Random(f"toolbox/{VERSION}/{seed}"), set[str]()
    while True:
        for family in QUESTION_FAMILIES:
            for _ in range(20):
                instruction = family.make(rng)
                if instruction not in seen:
                    seen.add(instruction)
                    yield instruction
                    break


def _pair(instruction: str) -> Pair:
    asked = question(instruction)
    rng = random.Random(instruction)
    miss = rng.choice(asked.misses)
    return Pair(as_prompt(instruction), sentence(asked, asked.answer, "plain"), sentence(asked, miss, "plain"))


def _probe(pair: Pair, train: list[Pair], test: list[Pair], rng: random.Random) -> Probe:
    asked = question(str(pair.prompt).removeprefix("Question: ").removesuffix("\nAnswer:"))
    miss = next(m for m in asked.misses if sentence(asked, m, "plain") == pair.rejected)
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
    return Probe(pair.prompt, {**responses, **probes.unrelated(pair, train, test, rng)})


def _corpus_line(instruction: str, rng: random.Random) -> str:
    """A solved example in any style; one in four with a near miss, so that misses are not unthinkable."""
    asked = question(instruction)
    answer = rng.choice(asked.misses) if rng.random() < 0.25 else asked.answer
    return as_prompt(instruction) + sentence(asked, answer, rng.choice(("plain", "plain", "semantic", "format")))


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
    rng.shuffle(lines)
    return PreferenceData(tuple(train_rows), tuple(test_rows), made), tuple(lines)
