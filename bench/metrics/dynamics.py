"""From probe values to the learning-dynamics metrics of a cell: Delta = last minus first, paired by probe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebench.bench.data.pairs import is_unrelated, role_of
from gatebench.bench.metrics import answers, verdicts

if TYPE_CHECKING:
    import pandas

# Which prompts a metric is of: training prompts, held-out prompts, the answers to those, or verdicts on answers.
PREFIX = {"train": "", "test": "test_", "generation": answers.PREFIX, "judge": verdicts.PREFIX}
PROBE = ["split", "prompt"]
# What a cell can be asked for; `test_` before a name means the held-out probes.
METRICS = (
    "delta_chosen", "delta_rejected", "margin", "delta_others", "delta_argmax", "delta_entropy", "accuracy", "kl",
    "delta_chosen_per_token", "delta_rejected_per_token", "delta_others_per_token", "delta_argmax_per_token",
    "flow_rejected", "flow_argmax", "flow_chosen", "flow_chosen_paraphrases", "flow_rejected_paraphrases",
    "flow_unrelated", "flow_rest", "answers_chosen", "answers_chosen_paraphrases", "answers_rejected",
    "answers_rejected_paraphrases", "answers_other_answers", "answers_anything_else",
)  # fmt: skip
# Roles of the enumerable answers to a prompt; ANYTHING_ELSE is every text that is none of them.
ANSWERS = ("chosen", "chosen_paraphrases", "rejected", "rejected_paraphrases", "other_answers")
ANYTHING_ELSE = "anything_else"


def probe_deltas(frame: pandas.DataFrame, step: int) -> pandas.DataFrame:
    """One row a (split, prompt): the change of each quantity from step 0 to `step`, in nats a response.

    Columns delta_chosen, delta_rejected, margin, delta_others (mean over the unrelated kinds), delta_argmax (all
    also per token), delta_entropy, accuracy (1 where the implicit reward of chosen is the larger), kl, and the flows
    of `flows` and `answer_flows` where the data have them.
    """
    import pandas

    values = frame[frame["step"].isin((0, step))]
    change = _change(values, "log_prob", step)
    lengths = values[values["step"] == 0].pivot(index=PROBE, columns="kind", values="tokens").clip(lower=1)
    unrelated = [kind for kind in change.columns if is_unrelated(kind)]
    deltas = change[["chosen", "rejected"]].add_prefix("delta_")
    deltas["margin"] = deltas["delta_chosen"] - deltas["delta_rejected"]
    for side in ("chosen", "rejected"):
        deltas[f"delta_{side}_per_token"] = change[side] / lengths[side]
    if unrelated:
        deltas["delta_others"] = change[unrelated].mean(axis=1)
        deltas["delta_others_per_token"] = (change[unrelated] / lengths[unrelated]).mean(axis=1)
    chosen = values[values["kind"] == "chosen"].pivot(
        index=PROBE, columns="step", values=["argmax", "tokens", "kl", "entropy"]
    )
    deltas["delta_argmax"] = chosen[("argmax", step)] - chosen[("argmax", 0)]
    deltas["delta_argmax_per_token"] = deltas["delta_argmax"] / chosen[("tokens", 0)].clip(lower=1)
    deltas["delta_entropy"] = chosen[("entropy", step)] - chosen[("entropy", 0)]
    deltas["accuracy"] = (deltas["margin"] > 0).astype(float)
    deltas["kl"] = chosen[("kl", step)]
    return pandas.concat([deltas, flows(values, step), answer_flows(values, step)], axis=1).reset_index()


def _change(values: pandas.DataFrame, quantity: str, step: int) -> pandas.DataFrame:
    wide = values.pivot_table(index=PROBE, columns=["kind", "step"], values=quantity, sort=True)
    return wide.xs(step, axis=1, level="step") - wide.xs(0, axis=1, level="step")


def flows(values: pandas.DataFrame, step: int) -> pandas.DataFrame:
    """Where the probability that left the rejected response went: the change, from step 0 to `step`, of the mean
    next-token mass along it, on its own tokens (flow_rejected), on the argmax (flow_argmax), on the tokens of the
    chosen response, of paraphrases and of unrelated responses, and on the rest. A row sums to 0. What no probe of a
    split has, as held-out pairs have no paraphrases, is missing there.
    """
    import pandas

    rows = values[values["kind"] == "rejected"]
    names = {"mass_target": "flow_rejected", "mass_top1": "flow_argmax"}
    found = {}
    for name in rows.columns[rows.columns.str.startswith("mass_")]:
        wide = rows.pivot(index=PROBE, columns="step", values=name)
        some = wide.fillna(0).any(axis=1).groupby("split").transform("any")
        if some.any():
            found[names.get(name, name.replace("mass_", "flow_"))] = (wide[step] - wide[0]).where(some)
    return pandas.DataFrame(found)


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
    rows = rows[role.isin(ANSWERS)].assign(role=role, p=numpy.exp(rows["log_prob"]))
    found = rows.pivot_table(index=PROBE, columns="role", values="p", aggfunc="sum").fillna(0.0)
    found[ANYTHING_ELSE] = 1 - found.sum(axis=1)
    return found


def answer_flows(values: pandas.DataFrame, step: int) -> pandas.DataFrame:
    """The change of `answer_masses` from step 0 to `step`, as answers_chosen, answers_rejected ..."""
    return (answer_masses(values, step) - answer_masses(values, 0)).add_prefix("answers_")


def split_means(deltas: pandas.DataFrame) -> dict[str, float]:
    """Means over the probes of each split; held-out ones with `test_` before the name. What no probe of a split
    has is missing."""
    found = {}
    for split, rows in deltas.groupby("split"):
        for name in rows.columns.drop(PROBE):
            if rows[name].notna().any():
                found[f"{PREFIX[str(split)]}{name}"] = float(rows[name].mean())
    return found


def curves(frame: pandas.DataFrame) -> pandas.DataFrame:
    """One row a checkpoint: the changes from step 0 to it, means over probes."""
    import pandas

    rows = [
        {"step": step, **split_means(probe_deltas(frame, int(step)))} for step in sorted(frame["step"].unique()) if step
    ]
    return pandas.DataFrame(rows)
