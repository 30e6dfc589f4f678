"""Probes made from a data set's own rows, for data sets that bring none."""

from __future__ import annotations

import random
from collections.abc import Sequence

from gatebench.bench.data.pairs import Pair, Probe, text_of

# Sentences a person wrote that answer nobody's question (the project's own).
HUMAN = (
    "The kettle had just begun to sing when the rain reached the garden wall.",
    "My grandmother kept every letter she was ever sent in a tin under the stairs.",
    "We took the slow train because the slow train follows the river.",
    "Nobody in the village remembers who planted the three oaks by the bridge.",
    "He folded the map the wrong way and laughed until the wind took it.",
    "The museum closes early on Sundays, which we learned at the door.",
    "She tunes the piano herself, a little flat, the way the house likes it.",
    "Somewhere behind the bakery a dog was arguing with the church bells.",
)
RANDOM_WORDS = """
    lantern oblique harvest copper sleeve drifting quartz bramble hollow signal velvet anchor thistle mosaic
    paddle ember ledger willow cobalt furrow beacon saddle murmur granite
""".split()


def unrelated(pair: Pair, train: Sequence[Pair], test: Sequence[Pair], rng: random.Random) -> dict[str, str]:
    """The five unrelated kinds: another training answer, a test answer, a human sentence, the chosen
    answer's words permuted, random words."""
    words = text_of(pair.chosen).split()
    rng.shuffle(words)
    found = {
        "irr_train": _other(pair, train, rng),
        "irr_test": _other(pair, test or train, rng),
        "irr_hum": " " + rng.choice(HUMAN),
        "random_permute": " " + " ".join(words),
        "random_nonhum": random_words(max(3, len(words)), rng),
    }
    # a template puts its own space before a message
    return found if isinstance(pair.prompt, str) else {kind: text.strip() for kind, text in found.items()}


def random_words(count: int, rng: random.Random) -> str:
    return " " + " ".join(rng.choice(RANDOM_WORDS) for _ in range(count))


def _other(pair: Pair, rows: Sequence[Pair], rng: random.Random) -> str:
    candidates = [row for row in rng.sample(rows, min(8, len(rows))) if row.prompt != pair.prompt]
    return text_of(candidates[0].chosen) if candidates else rng.choice(HUMAN)


def from_rows(rows: Sequence[Pair], train: Sequence[Pair], test: Sequence[Pair], seed: str) -> tuple[Probe, ...]:
    """A probe a row: chosen, rejected and the five unrelated kinds; the same seed, the same probes."""
    rng = random.Random(f"probes/{seed}")
    return tuple(
        Probe(row.prompt, {"chosen": row.chosen, "rejected": row.rejected, **unrelated(row, train, test, rng)})
        for row in rows
    )
