"""Results as tables: what is bold, where a rule goes, and the caveat of one seed."""

from gatebench.bench.analysis.aggregates import Group
from gatebench.bench.analysis.claims import ClaimResult, ContrastResult
from gatebench.bench.analysis.summary import CellResult, Summary
from gatebench.bench.analysis.tables import (
    ONE_SEED,
    claims_table,
    contrasts_table,
    kinds_table,
    phenomenon,
    results_table,
    verdicts_table,
)


def group(model, gate, value):
    metrics = {f"delta_chosen{end}": value + add for end, add in (("", 0.0), ("_lo", -1.0), ("_hi", 1.0))}
    return Group(model, "toolbox", "dpo", gate, (0,), metrics)


def test_the_best_of_each_model_is_bold_and_cells_without_a_result_follow():
    missing = CellResult("c", "small", "toolbox", "ipo", "ipo", "sft", "seq", 3, "missing")
    groups = (group("small", "none", -2.0), group("small", "seq", 1.0), group("large", "none", 4.0))
    table = results_table(Summary("s", "run", (missing,), groups=groups))
    column = [column.name for column in table.head].index("Δ chosen")
    assert [row.cells[column].text for row in table.rows[:3]] == ["-2.00 ±1.00", "1.00 ±1.00", "4.00 ±1.00"]
    assert [row.cells[column].bold for row in table.rows[:3]] == [False, True, True]
    assert [row.section for row in table.rows] == [False, False, True, True]
    assert table.rows[1].axes == {"model": "small", "dataset": "toolbox", "objective": "dpo", "gate": "seq"}
    assert (table.rows[3].cells[-1].text, table.rows[3].cells[-1].tone) == ("missing: seed 3", "bad")


def shown(table):
    return " ".join(cell.text for row in table.rows for cell in row.cells)


def test_held_out_columns_stand_beside_those_of_training():
    both = {"delta_chosen": 1.0, "test_delta_chosen": -2.0, "accuracy": 0.75, "test_accuracy": 0.5}
    table = results_table(Summary("s", "run", (), groups=(Group("m", "d", "dpo", "none", (0,), both),)))
    texts = dict(zip((column.name for column in table.head), (cell.text for cell in table.rows[0].cells), strict=True))
    assert (texts["Δ chosen"], texts["held-out Δ chosen"]) == ("1.00", "-2.00")
    assert (texts["accuracy"], texts["held-out accuracy"]) == ("0.75", "0.50")


def test_points_by_kind_say_which_signs_seeds_do_not_share():
    falls = {"delta_chosen": -9.0, "delta_others": -3.0, "delta_argmax": 0.7}
    near = {"delta_chosen": -9.0, "delta_others": -3.0, "delta_argmax": -0.7, "delta_shared": -4.0}
    groups = tuple(
        Group("m", "d", "dpo", "none", (0, 1), metrics, kind=kind, unsteady=unsteady)
        for kind, metrics, unsteady in (
            ("worded apart", falls, ()), ("near miss", near, ()), ("near miss", near, ("delta_shared",)),
        )
    )  # fmt: skip
    rows = kinds_table(Summary("s", "run", (), kinds=groups)).rows
    assert [row.cells[-1].text for row in rows] == ["squeezing", "displacement", ""]
    assert [row.section for row in rows] == [False, True, False]
    assert "-4.00?" in shown(kinds_table(Summary("s", "run", (), kinds=groups[2:])))
    assert kinds_table(Summary("s", "run", ())).rows == ()


def test_what_signs_are_called_is_as_sure_as_their_intervals():
    falls = {"delta_chosen": -9.0, "delta_others": -3.0, "delta_argmax": 0.7, "delta_argmax_lo": 0.1,
             "delta_argmax_hi": 1.3, "delta_chosen_lo": -12.0, "delta_chosen_hi": -6.0}  # fmt: skip
    hardly = {**falls, "delta_chosen": -0.05, "delta_chosen_lo": -0.26, "delta_chosen_hi": 0.16}
    called = [phenomenon(Group("m", "d", "dpo", "none", (0,), own, kind="near miss")) for own in (falls, hardly)]
    assert called == ["squeezing", "squeezing?"]


def claim(seeds):
    found = ContrastResult("seq − none", 6.0, 5.0, 7.0, seeds=seeds, p_holm=0.012, detectable=1.5)
    return ClaimResult("it raises", "delta_chosen", "greater", "supported", (found,))


def test_verdicts_on_one_seed_say_so_once_wherever_they_are_shown():
    """Beside the points, which a terminal and a report show too, not again; on a page of their own they say it."""
    one, three = (Summary("s", "run", (), (claim(seeds),)) for seeds in (1, 3))
    for table in (results_table, verdicts_table):
        assert table(one).caption == ONE_SEED
        assert table(three).caption is None
    for table in (claims_table(one), contrasts_table(one.claims[0])):
        assert table.caption is None
    for table in (claims_table, verdicts_table):
        assert "supported in this run" in shown(table(one))
        assert "in this run" not in shown(table(three))
    assert "seeds were not varied" in ONE_SEED


def test_a_contrast_without_a_value_says_why():
    empty = ClaimResult("c", "margin", "greater", "undecided", (ContrastResult("a − b", reason="no cell is finished"),))
    assert [cell.text for cell in contrasts_table(empty).rows[0].cells] == ["a − b: no cell is finished"]
    assert verdicts_table(Summary("s", "run", (), (empty,))).rows == ()
