"""`bench compare`: hand-made runs side by side, the author's table read, and what is said of bad input."""

import json

import pytest

from gatebench.bench.analysis.aggregates import Group
from gatebench.bench.analysis.comparison import Published, agreement, differences
from gatebench.bench.analysis.saved_runs import read_published, read_run
from gatebench.bench.errors import UserError
from tests.helpers import MEANS, ROOT, measured, measured_cells

PUBLISHED = ROOT / "results/published/gate_dpo.csv"


def test_two_runs_are_paired_by_seed_and_probe():
    shifted = {point: mean + (2.0 if point[2] == "seq" else 0.0) for point, mean in MEANS.items()}
    rows = differences(measured_cells(MEANS), measured_cells(shifted))
    assert {(row.model, row.objective, row.gate) for row in rows} == set(MEANS)
    for row in rows:
        assert row.metric == "delta_chosen"  # the only one that the hand-made cells have
        assert row.value == pytest.approx(2.0 if row.gate == "seq" else 0.0)
        assert row.theirs - row.ours == pytest.approx(row.value)
        assert row.lo <= row.value + 1e-9
        assert row.hi >= row.value - 1e-9
        assert row.p_holm >= row.p
        assert (row.seeds, row.probes) == (3, 40)


def test_only_points_and_seeds_of_both_take_part():
    ours = measured_cells(MEANS)
    theirs = [measured(model="small", seed=seed, mean=1.0) for seed in (1, 2, 7)] + [measured(objective="new")]
    (row,) = differences(ours, theirs)
    assert (row.model, row.objective, row.gate, row.seeds) == ("small", "dpo", "none", 2)


def group(objective, gate, delta_chosen):
    return Group("ours", "hh", objective, gate, (0,), {"delta_chosen": delta_chosen})


def published(objective, gate, delta_chosen):
    return Published("theirs", objective, gate, {"delta_chosen": delta_chosen})


def test_agreement_by_hand():
    ours = [group("dpo", "none", -3), group("dpo", "seq", 1), group("ipo", "none", 2), group("ipo", "seq", 1)]
    theirs = [published("dpo", "none", -9), published("dpo", "seq", 1), published("ipo", "none", -1),
              published("ipo", "seq", 2), published("cal_dpo", "seq", 5)]  # fmt: skip
    (row,) = agreement(ours, theirs)
    assert (row.metric, row.ours, row.theirs) == ("delta_chosen", "ours", "theirs")
    assert (row.methods, row.signs) == (4, 3)  # ipo none has the other sign
    assert (row.gated, row.effects) == (2, 1)  # the gate lowers ipo here and raises it there
    # ranks 1, 2.5, 4, 2.5 against 1, 3, 2, 4
    assert row.rank == pytest.approx(0.3162, abs=1e-4)


def test_the_authors_table_is_read_with_gaps_as_missing():
    rows = read_published(PUBLISHED)
    assert len(rows) == 48
    assert {row.model for row in rows} == {"pythia-410m", "llama-7b", "qwen-0.5b", "qwen1.5-7b"}
    assert all("margin" in row.metrics for row in rows)


def test_a_table_without_a_column_or_with_a_word_in_it_is_refused(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("model,loss,gate,delta_chosen\n")
    with pytest.raises(UserError, match="no column delta_rejected, margin, delta_others"):
        read_published(table)
    table.write_text("model,loss,gate,delta_chosen,delta_rejected,margin,delta_others\nm,dpo,none,much,1,1,1\n")
    with pytest.raises(UserError, match="expected a number or nothing"):
        read_published(table)


def test_a_run_that_is_not_there_names_the_nearest_and_several_are_listed(tmp_path):
    for run in ("a", "b"):
        (tmp_path / "runs/hh_tiny" / run).mkdir(parents=True)
        (tmp_path / "runs/hh_tiny" / run / "summary.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match="did you mean 'hh_tiny'"):
        read_run("hh_tin", tmp_path)
    with pytest.raises(UserError, match="2 runs; name one of"):
        read_run("hh_tiny", tmp_path)
