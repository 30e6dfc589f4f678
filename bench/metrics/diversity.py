"""What several answers to one prompt are worth together: how often one is right, and how far they differ. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import comb

ORDER = 4  # of the n-grams of BLEU


def pass_at(tries: int, samples: int, right: int) -> float:
    """The chance that one of `tries` answers is right, without bias from `samples` of which `right` are: 1 minus the
    share of draws of as many that have none (Chen et al. 2021, eq. 1). samples: at least tries."""
    return 1.0 - comb(samples - right, tries) / comb(samples, tries)


def distinct(tokens: Sequence[int], n: int) -> float:
    """The share of n-grams that are different ones (Li et al. 2016); missing below n tokens."""
    return distinct_over([tokens], n)


def distinct_over(answers: Iterable[Sequence[int]], n: int) -> float:
    """The share of all n-grams of some answers that are different ones; missing where none has n tokens."""
    grams = [gram for tokens in answers for gram in zip(*(tokens[i:] for i in range(n)), strict=False)]
    return len(set(grams)) / len(grams) if grams else float("nan")


def self_bleu_of(texts: Iterable[str]) -> float:
    """The mean BLEU of each text against all others as its references (Zhu et al. 2018), 0 to 1: sacrebleu's
    sentence_bleu (13a tokens, exponential smoothing, effective order). A text without a word has no BLEU and is left
    out; missing where fewer than two are left."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenizer = Tokenizer13a()  # type: ignore[no-untyped-call]
    words = [found for text in texts if (found := tokenizer(text.strip()).split())]
    if len(words) < 2:
        return float("nan")
    # each text's n-grams are counted once, and of every n-gram the two largest counts are kept: among the others' is
    # the larger of them, or the second where the larger is the text's own
    counts = [_grams(own) for own in words]
    largest: dict[tuple[str, ...], tuple[int, int]] = {}
    for own in counts:
        for gram, count in own.items():
            first, second = largest.get(gram, (0, 0))
            largest[gram] = (max(first, count), max(min(first, count), second))
    scores = []
    for place, own in enumerate(counts):
        right, total = [0] * ORDER, [0] * ORDER
        for gram, count in own.items():
            first, second = largest[gram]
            total[len(gram) - 1] += count
            right[len(gram) - 1] += min(count, second if count == first else first)
        length = len(words[place])
        others = [len(other) for at, other in enumerate(words) if at != place]
        nearest = min(others, key=lambda other, length=length: (abs(other - length), other))  # type: ignore[misc]
        found = BLEU.compute_bleu(right, total, length, nearest, smooth_method="exp", effective_order=True)
        scores.append(found.score / 100)
    return sum(scores) / len(scores)


def _grams(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(gram for n in range(1, ORDER + 1) for gram in zip(*(words[i:] for i in range(n)), strict=False))
