"""How well a policy's implicit reward, log pi/pi_ref of an answer, tells right answers from wrong ones, as
RewardBench 2 counts it (Malik et al. 2025; allenai/reward-bench, utils.py). Pure.

The beta of a loss is a positive factor of all rewards, which moves none of these but the margin: that is in nats of
log pi/pi_ref.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from gatebench.bench.metrics.metric import NATS, SHARE, Metric, Source, Variant, metric, register

if TYPE_CHECKING:
    import pandas

TIED = re.compile(r"(ref|tied):(.+)")  # ids of its Ties: one question with one right answer, and with several


@dataclass(frozen=True)
class Rewarded:
    """One prompt's rewards: how far the worst right answer lies above the best wrong one, how far the right ones lie
    apart, and the share of right ones among those with the highest reward."""

    margin: float
    spread: float
    best: float


@dataclass(frozen=True)
class Rewards:
    """Rows of answers: prompt, id, right (whether it is) and reward, in nats."""

    rows: pandas.DataFrame

    @cached_property
    def told(self) -> dict[int, Rewarded]:
        return {int(str(prompt)): _rewarded(own) for prompt, own in self.rows.groupby("prompt")}

    @cached_property
    def tied(self) -> dict[int, tuple[Rewarded, Rewarded]]:
        """By prompt of each question with several right answers: itself and its twin with one."""
        places: dict[tuple[str, str], int] = {}
        for prompt, identity in self.rows.drop_duplicates("prompt")[["prompt", "id"]].itertuples(index=False):
            if found := TIED.fullmatch(identity):
                places[found[1], found[2]] = int(prompt)
        return {
            place: (self.told[place], self.told[places["ref", question]])
            for (kind, question), place in places.items() if kind == "tied" and ("ref", question) in places
        }  # fmt: skip

    @cached_property
    def others(self) -> list[int]:
        """The prompts that are none of the Ties."""
        ids = self.rows.drop_duplicates("prompt").set_index("prompt")["id"]
        return [prompt for prompt in self.told if not TIED.fullmatch(ids[prompt])]

    def alone(self, value: Callable[[Rewarded], float]) -> pandas.Series[float] | None:
        """A value of each prompt that is none of the Ties; None where there are no others."""
        return self._by_prompt({prompt: value(self.told[prompt]) for prompt in self.others})

    def of_ties(self, value: Callable[[Rewarded, Rewarded], float]) -> pandas.Series[float] | None:
        """A value of each question of the Ties; None where there are none."""
        return self._by_prompt({prompt: value(*both) for prompt, both in self.tied.items()})

    def _by_prompt(self, found: dict[int, float]) -> pandas.Series[float] | None:
        import pandas

        places = sorted([*self.others, *self.tied])
        return pandas.Series(found, index=places, dtype=float) if found else None


REWARDS: Source[Rewards] = Source("implicit_reward", (("implicit_reward", Variant("reward_")),))


def best_of_n(rewards: Rewards) -> pandas.Series[float] | None:
    """Whether the right one of N answers has the highest reward; where several have, it gets its share."""
    return rewards.alone(lambda told: told.best)


def lead_of_right(rewards: Rewards) -> pandas.Series[float] | None:
    """How far the right answer's reward lies above the best wrong one's."""
    return rewards.alone(lambda told: told.margin)


register(Metric("accuracy", "reward accuracy", SHARE, REWARDS, best_of_n, "higher", reported=True))
register(Metric("margin", "reward margin", NATS, REWARDS, lead_of_right, "higher", reported=True))


@metric(REWARDS, title="ties accuracy", unit=SHARE, better="higher", reported=True)
def ties_accuracy(rewards: Rewards) -> pandas.Series[float] | None:
    """Whether every one of several right answers has a higher reward than every wrong one."""
    return rewards.of_ties(lambda tied, ref: float(tied.margin > 0))


@metric(REWARDS, title="ties accuracy of one", unit=SHARE, better="higher", reported=True)
def ties_ref_accuracy(rewards: Rewards) -> pandas.Series[float] | None:
    """The same of the twins with one right answer."""
    return rewards.of_ties(lambda tied, ref: float(ref.margin > 0))


@metric(REWARDS, title="ties margin kept", unit=SHARE, better="higher", reported=True)
def ties_margin(rewards: Rewards) -> pandas.Series[float] | None:
    """Whether right answers lie closer to each other than to the best wrong one."""
    return rewards.of_ties(lambda tied, ref: float(tied.margin > tied.spread))


@metric(REWARDS, title="ties margin kept in both", unit=SHARE, better="higher", reported=True)
def ties_margin_hard(rewards: Rewards) -> pandas.Series[float] | None:
    """Also than to the best wrong one of the twin."""
    return rewards.of_ties(lambda tied, ref: float(min(tied.margin, ref.margin) > tied.spread))


@metric(REWARDS, title="ties score", unit=SHARE, better="higher", reported=True)
def ties_score(rewards: Rewards) -> pandas.Series[float] | None:
    """RewardBench 2's of its Ties: 0.3 of each accuracy, 0.2 of each margin, 0.01 of how wide the narrower one is."""
    return rewards.of_ties(_score)


def _score(tied: Rewarded, ref: Rewarded) -> float:
    margin = min(tied.margin, ref.margin)
    wide = margin / tied.spread if tied.spread else math.copysign(math.inf, margin) if margin else 0.0
    return (
        0.3 * (tied.margin > 0) + 0.3 * (ref.margin > 0) + 0.2 * (tied.margin > tied.spread)
        + 0.2 * (margin > tied.spread) + 0.01 * math.tanh(wide - 1)
    )  # fmt: skip


def _rewarded(rows: pandas.DataFrame) -> Rewarded:
    is_right = rows["right"].astype(bool)
    right, wrong = rows["reward"][is_right], rows["reward"][~is_right]
    highest = is_right[rows["reward"] == rows["reward"].max()]
    return Rewarded(float(right.min() - wrong.max()), float(right.max() - right.min()), float(highest.mean()))
