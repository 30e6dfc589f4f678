"""From probe values to the learning-dynamics metrics of a cell: Delta = last minus first, paired by probe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.data.pairs import is_unrelated

if TYPE_CHECKING:
    import pandas

PREFIX = {"train": "", "test": "test_"}


def probe_deltas(frame: pandas.DataFrame, step: int) -> pandas.DataFrame:
    """One row a (split, prompt): the change of each quantity from step 0 to `step`, in nats a response.

    Columns delta_chosen, delta_rejected, margin, delta_others (mean over the unrelated kinds), delta_argmax,
    accuracy (1 where the implicit reward of chosen is the larger), kl.
    """
    values = frame[frame["step"].isin((0, step))]
    wide = values.pivot_table(index=["split", "prompt"], columns=["kind", "step"], values="log_prob", sort=True)
    first, last = wide.xs(0, axis=1, level="step"), wide.xs(step, axis=1, level="step")
    change = last - first
    unrelated = [kind for kind in change.columns if is_unrelated(kind)]
    deltas = change[["chosen", "rejected"]].add_prefix("delta_")
    deltas["margin"] = deltas["delta_chosen"] - deltas["delta_rejected"]
    if unrelated:
        deltas["delta_others"] = change[unrelated].mean(axis=1)
    chosen = values[values["kind"] == "chosen"].pivot(
        index=["split", "prompt"], columns="step", values=["argmax", "tokens", "kl", "entropy"]
    )
    deltas["delta_argmax"] = chosen[("argmax", step)] - chosen[("argmax", 0)]
    deltas["delta_argmax_per_token"] = deltas["delta_argmax"] / chosen[("tokens", 0)].clip(lower=1)
    deltas["delta_entropy"] = chosen[("entropy", step)] - chosen[("entropy", 0)]
    deltas["accuracy"] = (deltas["margin"] > 0).astype(float)
    deltas["kl"] = chosen[("kl", step)]
    return deltas.reset_index()


def split_means(deltas: pandas.DataFrame) -> dict[str, float]:
    """Means over the probes of each split; held-out ones with `test_` before the name."""
    found = {}
    for split, rows in deltas.groupby("split"):
        for name in rows.columns.drop(["split", "prompt"]):
            found[f"{PREFIX[str(split)]}{name}"] = float(rows[name].mean())
    return found


def cell_metrics(frame: pandas.DataFrame) -> dict[str, float]:
    """The metrics of a cell: changes from step 0 to the true end."""
    return split_means(probe_deltas(frame, int(frame["step"].max())))


def curves(frame: pandas.DataFrame) -> pandas.DataFrame:
    """step -> the same metrics at every checkpoint (0 at step 0), one row a step."""
    import pandas

    rows = [
        {"step": step, **split_means(probe_deltas(frame, int(step)))} for step in sorted(frame["step"].unique()) if step
    ]
    return pandas.DataFrame(rows)
