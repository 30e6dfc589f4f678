"""What answers look like, prompt by prompt, so that cells can be compared on the same prompts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gatebench.bench.metrics.metric import SHARE, TOKENS, Source, Variant, metric

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Answers:
    """A generate stage's table. ids: the tokens of each answer without its end; index: their prompts."""

    frame: pandas.DataFrame

    @cached_property
    def ids(self) -> list[list[int]]:
        return [list(own) for own in self.frame["ids"]]

    @cached_property
    def lengths(self) -> NDArray[np.int_]:
        return np.array([len(own) for own in self.ids])

    def by_prompt(self, values: Sequence[float] | NDArray[Any]) -> pandas.Series[float]:
        import pandas

        return pandas.Series(np.asarray(values, dtype=float), index=self.frame["prompt"].to_numpy())


ANSWERS: Source[Answers] = Source(
    "generate", (("generation", Variant("generation_")),), (Variant(), Variant("delta_", "Δ {}", leads=False))
)


@metric(ANSWERS, title="pass rate", unit=SHARE, better="higher", headline=True)
def pass_rate(answers: Answers) -> pandas.Series[float] | None:
    """Graded right; only of data with exact grading."""
    return answers.by_prompt(answers.frame["passed"].to_numpy()) if "passed" in answers.frame else None


@metric(ANSWERS, title="tokens", unit=TOKENS, reported=True)
def tokens(answers: Answers) -> pandas.Series[float]:
    return answers.by_prompt(answers.lengths)


@metric(ANSWERS, title="empty", unit=SHARE, better="lower", reported=True)
def empty(answers: Answers) -> pandas.Series[float]:
    return answers.by_prompt(answers.lengths == 0)


@metric(ANSWERS, title="truncated", unit=SHARE, better="lower", reported=True)
def truncated(answers: Answers) -> pandas.Series[float]:
    return answers.by_prompt(answers.frame["finish_reason"].to_numpy() == "length")


@metric(ANSWERS, title="distinct pairs of tokens", unit=SHARE, reported=True)
def distinct_2(answers: Answers) -> pandas.Series[float]:
    return answers.by_prompt([distinct(own, 2) for own in answers.ids])


@metric(ANSWERS, title="repeated", unit=SHARE, reported=True)
def repeated(answers: Answers) -> pandas.Series[float]:
    return answers.by_prompt([longest_repeat(own) for own in answers.ids])


@metric(ANSWERS, title="overlap", unit=SHARE, reported=True)
def overlap(answers: Answers) -> pandas.Series[float]:
    """The mean share of token pairs in common with the answers to other prompts: one favourite phrase gives 1."""
    return answers.by_prompt(common_pairs(answers.ids))


def answer_metrics(frame: pandas.DataFrame) -> pandas.DataFrame:
    """A generate stage's table -> the metrics of ANSWERS by prompt; one that an answer cannot have is missing.

    frame: prompt, ids (tokens without the end), finish_reason and, where answers are graded exactly, passed.
    """
    return ANSWERS.table(Answers(frame))


def against(own: pandas.DataFrame, reference: pandas.DataFrame) -> pandas.DataFrame:
    """The metrics of a policy by prompt, with delta_ before the change against the reference policy's own answers."""
    import pandas

    change = (own - reference.reindex(own.index)).add_prefix("delta_")
    return pandas.concat([own, change], axis=1)


def distinct(tokens: Sequence[int], n: int) -> float:
    """The share of n-grams that are different ones (Li et al. 2016); missing below n tokens."""
    grams = list(zip(*(tokens[i:] for i in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else float("nan")


def longest_repeat(tokens: Sequence[int]) -> float:
    """The longest span that occurs twice, which may overlap itself, as a share of the answer; missing if empty."""
    if not tokens:
        return float("nan")
    low, high = 0, len(tokens) - 1
    while low < high:  # a span of n that occurs twice holds one of n - 1 that does
        middle = (low + high + 1) // 2
        spans = [tuple(tokens[i : i + middle]) for i in range(len(tokens) - middle + 1)]
        if len(set(spans)) < len(spans):
            low = middle
        else:
            high = middle - 1
    return low / len(tokens)


def common_pairs(answers: Sequence[Sequence[int]]) -> list[float]:
    """Mean Jaccard similarity of an answer's token pairs with those of every other answer; missing without pairs."""
    from scipy.sparse import csr_matrix

    pairs = [set(pairwise(ids)) for ids in answers]
    column = {pair: index for index, pair in enumerate(sorted(set().union(*pairs)))} if pairs else {}
    rows = [row for row, own in enumerate(pairs) for _ in own]
    columns = [column[pair] for own in pairs for pair in own]
    present = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(pairs), max(1, len(column))))
    common = (present @ present.T).toarray()
    sizes = np.array([len(own) for own in pairs], dtype=float)
    union = sizes[:, None] + sizes[None] - common
    share = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    np.fill_diagonal(share, 0.0)
    others = len(pairs) - 1
    return [float("nan") if size == 0 or others < 1 else float(total / others)
            for size, total in zip(sizes, share.sum(axis=1), strict=True)]  # fmt: skip
