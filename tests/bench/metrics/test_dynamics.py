"""The metrics of a hand-made table of probe values."""

import math

import pandas
import pytest

from gatebench.bench.metrics.dynamics import PLACES, answer_masses, curves, probe_deltas


def frame():
    """Two training prompts and one held-out one at steps 0, 5 and 10; values chosen to be followed by hand."""
    rows = []
    values = {  # (split, prompt, kind) -> log-prob at steps 0, 5, 10
        ("train", 0, "chosen"): (-10, -9, -8), ("train", 0, "rejected"): (-10, -12, -20),
        ("train", 0, "irr_train"): (-30, -31, -33), ("train", 0, "random_permute"): (-40, -41, -45),
        ("train", 1, "chosen"): (-10, -12, -16), ("train", 1, "rejected"): (-10, -11, -12),
        ("train", 1, "irr_train"): (-30, -30, -30), ("train", 1, "random_permute"): (-40, -40, -40),
        ("test", 0, "chosen"): (-5, -5, -4), ("test", 0, "rejected"): (-5, -5, -7),
        ("test", 0, "irr_train"): (-9, -9, -10), ("test", 0, "random_permute"): (-9, -9, -8),
    }  # fmt: skip
    for (split, prompt, kind), series in values.items():
        for step, value in zip((0, 5, 10), series, strict=True):
            rows.append({
                "split": split, "prompt": prompt, "kind": kind, "step": step, "log_prob": value, "tokens": 4,
                "argmax": -2.0 + step / 10, "entropy": 1.0 - step / 20, "kl": step / 5 if kind == "chosen" else None,
            })  # fmt: skip
    return pandas.DataFrame(rows)


def final(rows):
    """The metrics at the true end that are not missing."""
    return curves(rows).iloc[-1].dropna().to_dict()


def test_metrics_by_hand():
    found = final(frame())
    expected = {
        "delta_chosen": (2 - 6) / 2, "delta_rejected": (-10 - 2) / 2, "margin": (12 - 4) / 2,
        "delta_others": ((-3 - 5) / 2 + 0) / 2, "accuracy": 0.5, "delta_argmax": 1.0,
        "delta_argmax_per_token": 0.25, "delta_entropy": -0.5, "kl": 2.0,
        "test_delta_chosen": 1.0, "test_delta_rejected": -2.0, "test_margin": 3.0, "test_delta_others": 0.0,
        "test_accuracy": 1.0, "delta_chosen_per_token": -0.5, "delta_rejected_per_token": -1.5,
        "delta_others_per_token": -0.5, "share_fallen": 0.5, "test_share_fallen": 0.0,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_curves_have_a_row_a_checkpoint_and_end_at_the_metrics():
    found = curves(frame())
    assert found["step"].tolist() == [5, 10]
    assert found["delta_chosen"].tolist() == [(1 - 2) / 2, -2.0]
    assert found.iloc[-1]["margin"] == final(frame())["margin"]


def test_deltas_are_paired_by_probe_and_missing_kinds_stay_missing():
    rows = frame()
    deltas = probe_deltas(rows[~rows["kind"].str.startswith(("irr", "random"))], 10)
    assert deltas[deltas["split"] == "train"]["delta_chosen"].tolist() == [2, -6]
    assert "delta_others" not in deltas


def test_the_profile_says_where_the_chosen_response_changed_and_sums_to_it():
    rows = frame()
    assert not [name for name in final(rows) if name.startswith("delta_chosen_at")]
    shares = dict(zip(PLACES, (0.5, 0.25, 0.125, 0.125, 0.0), strict=True))
    for name, share in shares.items():
        rows[name] = rows["log_prob"].where(rows["kind"] == "chosen") * share
    found = final(rows)
    for name, share in shares.items():
        assert found[f"delta_chosen_{name}"] == pytest.approx(found["delta_chosen"] * share)
    assert found["test_delta_chosen_at_1"] == pytest.approx(0.5)


def test_flows_along_the_rejected_response_sum_to_zero():
    rows = frame().assign(mass_target=None, mass_top1=None, mass_chosen=None, mass_rest=None)
    rejected = rows["kind"] == "rejected"
    masses = {0: (0.5, 0.2, 0.1, 0.2), 5: (0.4, 0.3, 0.1, 0.2), 10: (0.1, 0.6, 0.2, 0.1)}
    columns = ["mass_target", "mass_top1", "mass_chosen", "mass_rest"]
    for step, values in masses.items():
        rows.loc[rejected & (rows["step"] == step), columns] = values
    rows[columns] = rows[columns].astype(float)
    found = final(rows)
    assert found["flow_rejected"] == pytest.approx(-0.4)
    assert found["flow_argmax"] == pytest.approx(0.4)
    assert found["flow_chosen"] == pytest.approx(0.1)
    assert found["flow_rest"] == pytest.approx(-0.1)
    assert "flow_unrelated" not in found  # no such mass was measured: missing, not 0


def test_the_answers_of_an_enumerable_prompt_and_anything_else_sum_to_one():
    kinds = {"chosen": 0.4, "chosen_format": 0.1, "rejected": 0.2, "reject_format": 0.05, "other_plain_0": 0.15,
             "irr_train": 0.5}  # fmt: skip
    rows = pandas.DataFrame([
        {"split": "train", "prompt": 0, "kind": kind, "step": 0, "log_prob": math.log(p)} for kind, p in kinds.items()
    ])  # fmt: skip
    found = answer_masses(rows, 0).iloc[0].to_dict()
    assert found == pytest.approx({
        "chosen": 0.4, "chosen_paraphrases": 0.1, "rejected": 0.2, "rejected_paraphrases": 0.05,
        "other_answers": 0.15, "anything_else": 0.1,
    })  # fmt: skip
    assert answer_masses(rows[~rows["kind"].str.startswith("other")], 0).empty
