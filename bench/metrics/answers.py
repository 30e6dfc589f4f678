"""What answers look like, prompt by prompt, so that cells can be compared on the same prompts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gatebench.bench.metrics.diversity import distinct, distinct_over, pass_at, self_bleu_of
from gatebench.bench.metrics.metric import SHARE, TOKENS, Metric, Source, Variant, metric, register

if TYPE_CHECKING:
    import pandas


PASS_TRIES = (2, 4, 8, 16, 32, 64)  # for which pass@k is told, where there are as many samples


@dataclass(frozen=True)
class Answers:
    """A generate stage's table. ids: the tokens of each answer without its end; index: their prompts; sampled: whether
    there are several answers to each."""

    frame: pandas.DataFrame

    @property
    def sampled(self) -> bool:
        return "sample" in self.frame

    @cached_property
    def ids(self) -> list[list[int]]:
        return [list(own) for own in self.frame["ids"]]

    @cached_property
    def lengths(self) -> NDArray[np.int_]:
        return np.array([len(own) for own in self.ids])

    def by_prompt(self, values: Sequence[float] | NDArray[Any]) -> pandas.Series[float]:
        """Values of the answers; of several samples the mean of a prompt's."""
        import pandas

        found = pandas.Series(np.asarray(values, dtype=float), index=self.frame["prompt"].to_numpy())
        return found.groupby(level=0).mean() if self.sampled else found

    @cached_property
    def together(self) -> dict[Hashable, pandas.DataFrame]:
        """All answers to each prompt, in the order of its samples."""
        ordered = self.frame.sort_values("sample")
        return {prompt: ordered.iloc[places] for prompt, places in ordered.groupby("prompt").indices.items()}

    def over(self, value: Callable[[pandas.DataFrame], float]) -> pandas.Series[float] | None:
        """A value of each prompt's answers together; None where there is one answer a prompt."""
        import pandas

        if not self.sampled:
            return None
        found = {prompt: value(rows) for prompt, rows in self.together.items()}
        return pandas.Series(found, dtype=float)

    def over_right(self, value: Callable[[pandas.DataFrame], float]) -> pandas.Series[float] | None:
        """`over` those alone that are graded right; None where nothing is graded."""
        return self.over(lambda rows: value(rows[rows["passed"].astype(bool)])) if "passed" in self.frame else None


SEVERAL = ("samples", 2)
ANSWERS: Source[Answers] = Source(
    "generate", (("generation", Variant("generation_")),), (Variant(), Variant("delta_", "Δ {}", leads=False))
)


@metric(ANSWERS, title="pass rate", unit=SHARE, better="higher", headline=True, tunable=True, graded=True)
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


@metric(ANSWERS, title="distinct pairs of tokens", unit=SHARE, reported=True, tunable=True)
def distinct_2(answers: Answers) -> pandas.Series[float]:
    return answers.by_prompt([distinct(own, 2) for own in answers.ids])


@metric(ANSWERS, title="repeated", unit=SHARE, reported=True)
def repeated(answers: Answers) -> pandas.Series[float]:
    return answers.by_prompt([longest_repeat(own) for own in answers.ids])


@metric(ANSWERS, title="overlap", unit=SHARE, reported=True)
def overlap(answers: Answers) -> pandas.Series[float]:
    """The mean share of token pairs in common with the answers to other prompts: one favourite phrase gives 1."""
    if not answers.sampled:
        return answers.by_prompt(common_pairs(answers.ids))
    found = np.empty(len(answers.ids))
    for places in answers.frame.reset_index(drop=True).groupby("sample").indices.values():
        found[places] = common_pairs([answers.ids[place] for place in places])
    return answers.by_prompt(found)


@metric(ANSWERS, title="distinct answers", unit="answers", reported=True, tunable=True, needs=SEVERAL)
def distinct_answers(answers: Answers) -> pandas.Series[float] | None:
    """Different texts among a prompt's samples."""
    return answers.over(_different)


@metric(ANSWERS, title="distinct right answers", unit="answers", better="higher", reported=True, tunable=True,
        needs=SEVERAL, graded=True)  # fmt: skip
def distinct_right(answers: Answers) -> pandas.Series[float] | None:
    """Different texts among those that are graded right; 0 where none is."""
    return answers.over_right(_different)


@metric(ANSWERS, title="samples all equal", unit=SHARE, better="lower", reported=True, needs=SEVERAL)
def all_equal(answers: Answers) -> pandas.Series[float] | None:
    return answers.over(lambda rows: float(_different(rows) == 1))


@metric(ANSWERS, title="distinct tokens over samples", unit=SHARE, reported=True, needs=SEVERAL)
def samples_distinct_1(answers: Answers) -> pandas.Series[float] | None:
    return answers.over(lambda rows: distinct_over(rows["ids"], 1))


@metric(ANSWERS, title="distinct pairs over samples", unit=SHARE, reported=True, needs=SEVERAL)
def samples_distinct_2(answers: Answers) -> pandas.Series[float] | None:
    return answers.over(lambda rows: distinct_over(rows["ids"], 2))


@metric(ANSWERS, title="self-BLEU", unit=SHARE, reported=True, tunable=True, needs=SEVERAL)
def self_bleu(answers: Answers) -> pandas.Series[float] | None:
    """How alike a prompt's samples are (`diversity.self_bleu_of`)."""
    return answers.over(lambda rows: self_bleu_of(rows["response"]))


@metric(ANSWERS, title="self-BLEU of right answers", unit=SHARE, reported=True, needs=SEVERAL, graded=True)
def self_bleu_right(answers: Answers) -> pandas.Series[float] | None:
    """Among those that are graded right: whether what is lost in diversity was wrong anyway. Missing for prompts with
    fewer than two."""
    return answers.over_right(lambda rows: self_bleu_of(rows["response"]))


def _different(rows: pandas.DataFrame) -> float:
    return float(rows["response"].str.strip().nunique())


def _passed_within(answers: Answers, tries: int) -> pandas.Series[float] | None:
    if not answers.sampled or "passed" not in answers.frame or int(answers.frame["sample"].max()) + 1 < tries:
        return None
    return answers.over(lambda rows: pass_at(tries, len(rows), int(rows["passed"].sum())))


for _tries in PASS_TRIES:
    _compute = partial(_passed_within, tries=_tries)
    register(Metric(f"pass_at_{_tries}", f"pass@{_tries}", SHARE, ANSWERS, _compute, "higher", reported=True,
                    tunable=True, needs=("samples", _tries), graded=True))  # fmt: skip


def answer_metrics(frame: pandas.DataFrame) -> pandas.DataFrame:
    """A generate stage's table -> the metrics of ANSWERS by prompt; one that an answer cannot have is missing.

    frame: prompt, ids (tokens without the end), response, finish_reason and, where answers are graded exactly, passed;
    of several samples a row each, numbered by sample.
    """
    return ANSWERS.table(Answers(frame))


def against(own: pandas.DataFrame, reference: pandas.DataFrame) -> pandas.DataFrame:
    """The metrics of a policy by prompt, with delta_ before the change against the reference policy's own answers."""
    import pandas

    change = (own - reference.reindex(own.index)).add_prefix("delta_")
    return pandas.concat([own, change], axis=1)


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
