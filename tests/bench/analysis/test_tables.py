"""Results as tables: what is bold, where a rule goes, and the caveat of one seed."""

from gatebench.bench.analysis.aggregates import Group
from gatebench.bench.analysis.claims import ClaimResult, ContrastResult
from gatebench.bench.analysis.summary import CellResult, Summary
from gatebench.bench.analysis.tables import ONE_SEED, claims_table, contrasts_table, results_table, verdicts_table


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


def claim(seeds):
    found = ContrastResult("seq − none", 6.0, 5.0, 7.0, seeds=seeds, p_holm=0.012, detectable=1.5)
    return ClaimResult("it raises", "delta_chosen", "greater", "supported", (found,))


def test_verdicts_on_one_seed_say_so_wherever_they_are_shown():
    one, three = (Summary("s", "run", (), (claim(seeds),)) for seeds in (1, 3))
    for table in (claims_table, verdicts_table, lambda summary: contrasts_table(summary.claims[0])):
        assert table(one).caption == ONE_SEED
        assert table(three).caption is None


def test_a_contrast_without_a_value_says_why():
    empty = ClaimResult("c", "margin", "greater", "undecided", (ContrastResult("a − b", reason="no cell is finished"),))
    assert [cell.text for cell in contrasts_table(empty).rows[0].cells] == ["a − b: no cell is finished"]
    assert verdicts_table(Summary("s", "run", (), (empty,))).rows == ()
