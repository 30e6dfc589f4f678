"""What answers look like, prompt by prompt, so that cells can be compared on the same prompts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas

# pass_rate: graded right (data with exact grading); tokens: length; empty, truncated: share of such answers;
# distinct_2: share of different pairs of tokens in an answer; repeated: its longest repeated span as a share of it;
# overlap: mean share of token pairs in common with the answers to other prompts (one favourite phrase gives 1).
METRICS = ("pass_rate", "tokens", "empty", "truncated", "distinct_2", "repeated", "overlap")
PREFIX = "generation_"
NAMES = tuple(f"{PREFIX}{change}{metric}" for change in ("", "delta_") for metric in METRICS)


def per_prompt(frame: pandas.DataFrame) -> pandas.DataFrame:
    """A generate stage's table -> METRICS by prompt; a metric that an answer cannot have is missing.

    frame: prompt, ids (tokens without the end), finish_reason and, where answers are graded exactly, passed.
    """
    import pandas

    answers = [list(ids) for ids in frame["ids"]]
    lengths = np.array([len(ids) for ids in answers])
    found = pandas.DataFrame(
        {
            "tokens": lengths.astype(float), "empty": (lengths == 0).astype(float),
            "truncated": (frame["finish_reason"].to_numpy() == "length").astype(float),
            "distinct_2": [distinct(ids, 2) for ids in answers], "repeated": [repeated(ids) for ids in answers],
            "overlap": overlap(answers),
        },
        index=frame["prompt"].to_numpy(),
    )  # fmt: skip
    if "passed" in frame:
        found["pass_rate"] = frame["passed"].to_numpy().astype(float)
    return found


def against(own: pandas.DataFrame, reference: pandas.DataFrame) -> pandas.DataFrame:
    """METRICS of a policy by prompt, with delta_ before the change against the reference policy's own answers."""
    import pandas

    change = (own - reference.reindex(own.index)).add_prefix("delta_")
    return pandas.concat([own, change], axis=1)


def distinct(tokens: Sequence[int], n: int) -> float:
    """The share of n-grams that are different ones (Li et al. 2016); missing below n tokens."""
    grams = list(zip(*(tokens[i:] for i in range(n)), strict=False))
    return len(set(grams)) / len(grams) if grams else float("nan")


def repeated(tokens: Sequence[int]) -> float:
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


def overlap(answers: Sequence[Sequence[int]]) -> list[float]:
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
