"""How long an answer is and how it is set: what Arena-Hard's style control holds equal. Pure.

The counts are those of https://lmsys.org/blog/2024-08-28-style-control/: length, headers, list items and bold texts
outside of code blocks. Length counts words and marks, so that no vendor's tokenizer has to be there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CODE = re.compile(r"```[^`]*```")
WORDS_AND_MARKS = re.compile(r"\w+|[^\w\s]")
HEADER_LEVELS = [re.compile(rf"^#{{{level}}}\s", re.MULTILINE) for level in range(1, 7)]
ORDERED, UNORDERED = (re.compile(rf"^\s*{mark}\s", re.MULTILINE) for mark in (r"\d+\.", "[-*+]"))
STARS, BARS = re.compile(r"\*\*[^*\n]+\*\*"), re.compile(r"__[^_\n]+__")


@dataclass(frozen=True)
class Style:
    """words: with marks of punctuation; headers: by level from 1 to 6; ordered, unordered: items of lists; stars, bars:
    texts made bold by ** and by __."""

    words: int
    headers: tuple[int, ...]
    ordered: int
    unordered: int
    stars: int
    bars: int

    def marks(self) -> tuple[int, int, int]:
        return sum(self.headers), self.ordered + self.unordered, self.stars + self.bars


def style_of(answer: str) -> Style:
    text = CODE.sub("", answer)
    found = (len(pattern.findall(text)) for pattern in (ORDERED, UNORDERED, STARS, BARS))
    return Style(
        len(WORDS_AND_MARKS.findall(answer)), tuple(len(level.findall(text)) for level in HEADER_LEVELS), *found
    )


def style_differences(ours: Sequence[str], theirs: Sequence[str]) -> NDArray[np.float64]:
    """[N, 4]: by how much the first of two answers is longer, and has more headers, list items and bold texts a word.

    Arena-Hard's: (a - b)/(a + b) of the lengths, (a - b)/(a + b + 1) of each density.
    """
    own, other = (_counted(answers) for answers in (ours, theirs))
    length = (own[:, :1] - other[:, :1]) / np.maximum(own[:, :1] + other[:, :1], 1)
    dense, others = (counted[:, 1:] / (counted[:, :1] + 1) for counted in (own, other))
    return np.hstack([length, (dense - others) / (dense + others + 1)])


def _counted(answers: Sequence[str]) -> NDArray[np.float64]:
    styles = [style_of(answer) for answer in answers]
    return np.array([[style.words, *style.marks()] for style in styles], dtype=np.float64).reshape(-1, 4)
