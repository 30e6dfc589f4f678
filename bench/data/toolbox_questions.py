"""The questions of `builtin:toolbox`: each family with what draws, solves and recognises them.

In two levels: the easy families a built-in model of 1.3M learns in minutes; of the hard ones hardly any.
"""

from __future__ import annotations

import calendar
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

EASY_WORDS = 16  # of TOOLBOX_WORDS, that the easy questions are about
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


def _copy(word: str) -> tuple[str, tuple[str, ...]]:
    return word, _other_words(word)


def _first_letter(word: str) -> tuple[str, tuple[str, ...]]:
    return word[0], tuple(dict.fromkeys(letter for letter in word[::-1] if letter != word[0]))[:3]


def _capitals(word: str) -> tuple[str, tuple[str, ...]]:
    return word.upper(), (*(other.upper() for other in _other_words(word)), word)


def _other_words(word: str) -> tuple[str, ...]:
    """The words after it in the list."""
    at = TOOLBOX_WORDS.index(word)
    return tuple(TOOLBOX_WORDS[(at + step) % len(TOOLBOX_WORDS)] for step in (1, 2, 3))


def _smaller(a: str, b: str) -> tuple[str, tuple[str, ...]]:
    return str(min(int(a), int(b))), (str(max(int(a), int(b))),)


def _asked(text: str, draw: Callable[[random.Random], Sequence[object]]) -> Callable[[random.Random], str]:
    """Draws an easy question: the text with what is drawn in its places, between words that change nothing, so that few
    contents give many prompts."""
    return lambda rng: f"{rng.choice(BEFORE)} {text.format(*draw(rng))} {rng.choice(AFTER)}."


def _read(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{'|'.join(BEFORE)}) {text} (?:{'|'.join(AFTER)})\.")


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


# Words around an easy question that change nothing: few contents make many prompts, none of them in two sets.
BEFORE = """Please Now Kindly Next Then Quickly Again Just First Today Gladly Calmly Briefly Here Simply Still Soon Once
    Also Finally Promptly Rightly Neatly Plainly""".split()
AFTER = ("for me", "if you can", "at once", "in your answer", "below", "as asked", "this time", "and stop",
         "right away", "without fuss", "in one go", "as usual", "for us", "with care", "for her", "for him", "for them",
         "if you may", "in peace", "by now", "on your own", "to begin", "to finish", "for a test")  # fmt: skip
NUMBER, LIST, ONE_WORD = r"\d+", r"\w+(?:, \w+)+", r"[A-Za-z]{2,}"
EASY_FAMILIES = (
    Family("copying", _asked("repeat the word {}", lambda r: (r.choice(TOOLBOX_WORDS[:EASY_WORDS]),)),
           _read(r"repeat the word (\w+)"), _copy, ONE_WORD, ("The word is", "Said again:")),
    Family("first_letter", _asked("give the first letter of {}", lambda r: (r.choice(TOOLBOX_WORDS[:EASY_WORDS]),)),
           _read(r"give the first letter of (\w+)"), _first_letter, r"[a-z]", ("The letter is", "It begins with")),
    Family("capitals", _asked("write {} in capitals", lambda r: (r.choice(TOOLBOX_WORDS[:EASY_WORDS]),)),
           _read(r"write (\w+) in capitals"), _capitals, ONE_WORD, ("In capitals:", "Written large it is")),
    Family("order", _asked("say which is smaller, {} or {}", lambda r: r.sample(range(1, 13), 2)),
           _read(r"say which is smaller, (\d+) or (\d+)"), _smaller, NUMBER,
           ("The smaller one is", "The lesser number is")),
    Family("short_sums", _asked("add {} and {}", lambda r: (r.randint(1, 9), r.randint(1, 9))),
           _read(r"add (\d+) and (\d+)"), _add, NUMBER, ("Together they are", "In all that is")),
)  # fmt: skip
HARD_FAMILIES = (
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
QUESTION_FAMILIES = (*EASY_FAMILIES, *HARD_FAMILIES)
# Of a turn three quarters are easy, so that what is learned, and lost again, shows in pass rates.
IN_TURN = (*EASY_FAMILIES * 5, *QUESTION_FAMILIES)


def question(instruction: str) -> Question:
    """Solve an instruction of any family. Raises ValueError for text that is no toolbox instruction."""
    for family in QUESTION_FAMILIES:
        found = family.read.fullmatch(instruction)
        if found:
            answer, misses = family.solve(*found.groups())
            return Question(family.name, instruction, answer, misses)
    raise ValueError(f"not a toolbox instruction: {instruction!r}")


def family_named(name: str) -> Family:
    return next(family for family in QUESTION_FAMILIES if family.name == name)
