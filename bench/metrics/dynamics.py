"""From probe values to the learning-dynamics metrics of a cell: Delta = last minus first, paired by probe."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, cast

from gatebench.bench.data.pairs import is_unrelated, role_of
from gatebench.bench.metrics.calibration import GAPS, error_by_prompt
from gatebench.bench.metrics.metric import (
    NATS,
    NATS_A_TOKEN,
    SHARE,
    SPLIT_PREFIXES,
    Metric,
    Source,
    Variant,
    metric,
    register,
)

if TYPE_CHECKING:
    import pandas

PROBE = ["split", "prompt"]
# Roles of the enumerable answers to a prompt; ANYTHING_ELSE is every text that is none of them.
ENUMERABLE = ("chosen", "chosen_paraphrases", "rejected", "rejected_paraphrases", "other_answers")
ANYTHING_ELSE = "anything_else"
# Where in a chosen response a token stands: the first and the last of the places, counted from 1, of each column.
PLACES: dict[str, tuple[int, int | None]] = {
    "at_1": (1, 1), "at_2_4": (2, 4), "at_5_8": (5, 8), "at_9_16": (9, 16), "at_17": (17, None),
}  # fmt: skip
PROFILE = 2  # what of a chosen response is measured by its tokens: raised with every change of it
SHARED = (
    "shared"  # the column of the tokens that the chosen response has in common with the rejected one, before they part
)
# Parts of the next-token mass along the rejected response, and the column that has each.
ARGMAX = "delta_argmax"
BY_KIND = (  # what tells squeezing from displacement
    "delta_chosen", "delta_shared", "delta_rejected", "delta_others", ARGMAX, "test_delta_chosen", f"test_{ARGMAX}",
)  # fmt: skip
FLOWS = {
    "rejected": "mass_target", "argmax": "mass_top1",
    **{part: f"mass_{part}" for part in ("chosen", "chosen_paraphrases", "rejected_paraphrases", "unrelated", "rest")},
}  # fmt: skip


class Probes:
    """Values of probes at step 0 and at `step`: one row a (step, split, prompt, kind), in nats a response.

    What the metrics below are made of is worked out once: each is indexed by (split, prompt).
    """

    def __init__(self, frame: pandas.DataFrame, step: int) -> None:
        self.values, self.step = frame[frame["step"].isin((0, step))], step

    @cached_property
    def change(self) -> pandas.DataFrame:
        """The change of log_prob, a column a kind."""
        wide = self.values.pivot_table(index=PROBE, columns=["kind", "step"], values="log_prob", sort=True)
        now, start = (cast("pandas.DataFrame", wide.xs(step, axis=1, level="step")) for step in (self.step, 0))
        return now - start

    @cached_property
    def lengths(self) -> pandas.DataFrame:
        """Tokens, a column a kind; a response truncated to nothing counts as one."""
        start = self.values[self.values["step"] == 0]
        return start.pivot(index=PROBE, columns="kind", values="tokens").clip(lower=1)

    @cached_property
    def unrelated(self) -> list[str]:
        """The kinds that have nothing to do with their prompt."""
        return [kind for kind in self.change.columns if is_unrelated(kind)]

    def along_chosen(self, quantity: str, step: int) -> pandas.Series[float]:
        """A quantity of the distribution along the chosen response."""
        rows = self.values[(self.values["kind"] == "chosen") & (self.values["step"] == step)]
        return rows.set_index(PROBE)[quantity].sort_index()

    @cached_property
    def along_rejected(self) -> pandas.DataFrame:
        return self.values[self.values["kind"] == "rejected"]

    @cached_property
    def answer_flow(self) -> pandas.DataFrame:
        """The change of `answer_masses`; without columns where answers are not enumerable."""
        return answer_masses(self.values, self.step) - answer_masses(self.values, 0)


DYNAMICS: Source[Probes] = Source("dynamics", (("train", Variant()), ("test", Variant("test_", "held-out {}"))))


@metric(DYNAMICS, title="Δ chosen", unit=NATS, better="higher", headline=True, held_out=True, tunable=True,
        published=True, drawn=True)  # fmt: skip
def delta_chosen(probes: Probes) -> pandas.Series[float]:
    return probes.change["chosen"]


@metric(DYNAMICS, title="Δ rejected", unit=NATS, headline=True, tunable=True, published=True, drawn=True)
def delta_rejected(probes: Probes) -> pandas.Series[float]:
    return probes.change["rejected"]


@metric(DYNAMICS, title="margin", unit=NATS, better="higher", headline=True, tunable=True, published=True)
def margin(probes: Probes) -> pandas.Series[float]:
    return delta_chosen(probes) - delta_rejected(probes)


@metric(DYNAMICS, title="Δ others", unit=NATS, better="higher", headline=True, tunable=True, published=True)
def delta_others(probes: Probes) -> pandas.Series[float] | None:
    """The mean over the unrelated kinds."""
    return probes.change[probes.unrelated].mean(axis=1) if probes.unrelated else None


@metric(DYNAMICS, title="Δ argmax", unit=NATS, reported=True, drawn=True)
def delta_argmax(probes: Probes) -> pandas.Series[float]:
    """Of the most likely tokens along the chosen response."""
    return probes.along_chosen("argmax", probes.step) - probes.along_chosen("argmax", 0)


@metric(DYNAMICS, title="Δ entropy", unit=NATS_A_TOKEN)
def delta_entropy(probes: Probes) -> pandas.Series[float]:
    return probes.along_chosen("entropy", probes.step) - probes.along_chosen("entropy", 0)


@metric(DYNAMICS, title="accuracy", unit=SHARE, better="higher", headline=True, held_out=True, tunable=True)
def accuracy(probes: Probes) -> pandas.Series[float]:
    """1 where the implicit reward of chosen is the larger."""
    return (margin(probes) > 0).astype(float)


@metric(DYNAMICS, title="share fallen", unit=SHARE, better="lower", reported=True, tunable=True)
def share_fallen(probes: Probes) -> pandas.Series[float]:
    """1 where the chosen log-prob is lower than before training: what the mean of Δ chosen hides."""
    return (delta_chosen(probes) < 0).astype(float)


@metric(DYNAMICS, title="KL", unit=NATS, reported=True)
def kl(probes: Probes) -> pandas.Series[float]:
    """KL(policy || reference), summed along the chosen response."""
    return probes.along_chosen("kl", probes.step)


@metric(DYNAMICS, title="Δ chosen a token", unit=NATS_A_TOKEN)
def delta_chosen_per_token(probes: Probes) -> pandas.Series[float]:
    return probes.change["chosen"] / probes.lengths["chosen"]


@metric(DYNAMICS, title="Δ rejected a token", unit=NATS_A_TOKEN)
def delta_rejected_per_token(probes: Probes) -> pandas.Series[float]:
    return probes.change["rejected"] / probes.lengths["rejected"]


@metric(DYNAMICS, title="Δ others a token", unit=NATS_A_TOKEN)
def delta_others_per_token(probes: Probes) -> pandas.Series[float] | None:
    kinds = probes.unrelated
    return (probes.change[kinds] / probes.lengths[kinds]).mean(axis=1) if kinds else None


@metric(DYNAMICS, title="Δ argmax a token", unit=NATS_A_TOKEN, reported=True)
def delta_argmax_per_token(probes: Probes) -> pandas.Series[float]:
    return delta_argmax(probes) / probes.along_chosen("tokens", 0).clip(lower=1)


def flow(probes: Probes, column: str) -> pandas.Series[float] | None:
    """Where the probability that left the rejected response went: the change of the mean next-token mass along it, on
    its own tokens (flow_rejected), on the argmax (flow_argmax), on the tokens of the chosen response, of paraphrases
    and of unrelated responses, and on the rest. A row sums to 0. What no probe of a split has, as held-out pairs have
    no paraphrases, is missing there."""
    if column not in probes.along_rejected:
        return None
    wide = probes.along_rejected.pivot(index=PROBE, columns="step", values=column)
    some = wide.fillna(0).any(axis=1).groupby("split").transform("any")
    return (wide[probes.step] - wide[0]).where(some) if some.any() else None


def answer_flow(probes: Probes, role: str) -> pandas.Series[float] | None:
    """The change of the probability of all answers of a role (`answer_masses`)."""
    found: pandas.Series[float] | None = probes.answer_flow.get(role)
    return found


def profile(probes: Probes, column: str) -> pandas.Series[float] | None:
    """What the tokens at some places of the chosen response add to Δ chosen; all of them sum to it. Only where the
    suite asks for it (evaluate.dynamics.profile)."""
    if column not in probes.values:
        return None
    return probes.along_chosen(column, probes.step) - probes.along_chosen(column, 0)


@metric(DYNAMICS, title="Δ shared tokens", unit=NATS, reported=True, needs=("profile", True))
def delta_shared(probes: Probes) -> pandas.Series[float] | None:
    """What the tokens before both responses part add to Δ chosen and to Δ rejected alike; missing where they part at
    their first token. A loss of the difference has no gradient on them. Only where the suite asks for a profile."""
    return profile(probes, SHARED)


@metric(DYNAMICS, title="support kept", unit=SHARE, reported=True, needs=("confidence", True))
def support_kept(probes: Probes) -> pandas.Series[float] | None:
    """The mass on the eight tokens that were likeliest where the training began, mean along the chosen response. Only
    where the suite asks for it (evaluate.dynamics.confidence), as the metrics of calibration."""
    return probes.along_chosen("support", probes.step) if "support" in probes.values else None


@metric(DYNAMICS, title="Δ support", unit=SHARE, reported=True, needs=("confidence", True))
def delta_support(probes: Probes) -> pandas.Series[float] | None:
    kept = support_kept(probes)
    return None if kept is None else kept - probes.along_chosen("support", 0)


@metric(DYNAMICS, title="calibration error", unit=SHARE, better="lower", reported=True, needs=("confidence", True))
def calibration_error(probes: Probes) -> pandas.Series[float] | None:
    """Of the next token along the chosen response (`calibration`)."""
    return _calibration(probes, probes.step)


@metric(DYNAMICS, title="Δ calibration error", unit=SHARE, better="lower", reported=True, needs=("confidence", True))
def delta_calibration_error(probes: Probes) -> pandas.Series[float] | None:
    now, start = (_calibration(probes, step) for step in (probes.step, 0))
    return None if now is None or start is None else now - start


def _calibration(probes: Probes, step: int) -> pandas.Series[float] | None:
    if GAPS[0] not in probes.values:
        return None
    rows = probes.values[(probes.values["kind"] == "chosen") & (probes.values["step"] == step)]
    return error_by_prompt(rows.set_index(PROBE).sort_index())


for _name, (_first, _last) in PLACES.items():
    _words = f"token {_first}" if _first == _last else f"tokens {_first}-{_last}" if _last else f"tokens {_first}-"
    _compute = partial(profile, column=_name)
    register(
        Metric(
            f"delta_chosen_{_name}",
            f"Δ chosen, {_words}",
            NATS,
            DYNAMICS,
            _compute,
            reported=True,
            needs=("profile", True),
        )
    )
for _part, _column in FLOWS.items():
    _title = f"mass to {_part.replace('_', ' ')}"
    register(Metric(f"flow_{_part}", _title, SHARE, DYNAMICS, partial(flow, column=_column)))
for _role in (*ENUMERABLE, ANYTHING_ELSE):
    _title = f"probability of {_role.replace('_', ' ')}"
    register(Metric(f"answers_{_role}", _title, SHARE, DYNAMICS, partial(answer_flow, role=_role)))


def probe_deltas(frame: pandas.DataFrame, step: int) -> pandas.DataFrame:
    """One row a (split, prompt), a column a metric that the data have: the change from step 0 to `step`."""
    return DYNAMICS.table(Probes(frame, step)).reset_index()


def answer_masses(values: pandas.DataFrame, step: int) -> pandas.DataFrame:
    """The exact distribution over all answers of prompts whose answers are enumerable, at one step.

    Responses with their end are disjoint events, so their probabilities and ANYTHING_ELSE sum to 1. Equal texts of
    two kinds would be counted twice; the toolbox has none. Empty where a prompt's answers are not enumerable.
    """
    import numpy
    import pandas

    rows = values[values["step"] == step]
    role = rows["kind"].map(role_of)
    if not (role == "other_answers").any():
        return pandas.DataFrame()
    rows = rows[role.isin(ENUMERABLE)].assign(role=role, p=numpy.exp(rows["log_prob"]))
    found = rows.pivot_table(index=PROBE, columns="role", values="p", aggfunc="sum").fillna(0.0)
    found[ANYTHING_ELSE] = 1 - found.sum(axis=1)
    return found


def split_means(deltas: pandas.DataFrame) -> dict[str, float]:
    """Means over the probes of each split; held-out ones with `test_` before the name. What no probe of a split
    has is missing."""
    found = {}
    for split, rows in deltas.groupby("split"):
        for name in rows.columns.drop(PROBE):
            if rows[name].notna().any():
                found[f"{SPLIT_PREFIXES[str(split)]}{name}"] = float(rows[name].mean())
    return found


def curves(frame: pandas.DataFrame) -> pandas.DataFrame:
    """One row a checkpoint: the changes from step 0 to it, means over probes."""
    import pandas

    rows = [
        {"step": step, **split_means(probe_deltas(frame, int(step)))} for step in sorted(frame["step"].unique()) if step
    ]
    return pandas.DataFrame(rows)
