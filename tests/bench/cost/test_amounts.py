"""How much work a stage is, by the rows that are there."""

from gatebench.bench.cost.amounts import work_of
from tests.helpers import GOOD, plan_of


def works(plan):
    return {node.kind: work_of(node, plan.nodes) for node in plan.nodes.values()}


def test_tokens_are_those_of_the_rows_and_not_of_the_longest_there_may_be(tmp_path):
    short = works(plan_of(tmp_path))
    long = works(plan_of(tmp_path, GOOD.replace("max_length: 64", "max_length: 1024")))
    for kind in ("warmup", "reference", "train", "dynamics"):
        assert long[kind].amount.unit_tokens < 200
        assert long[kind].amount.batch_tokens <= 4 * short[kind].amount.batch_tokens
    assert long["train"].amount.units == short["train"].amount.units


def test_a_data_set_of_the_hub_is_half_full_and_in_memory_as_long_as_it_may_be(tmp_path):
    text = GOOD.replace("path: builtin:toolbox", "path: some/set, revision: abc")
    found = works(plan_of(tmp_path, text))
    assert found["train"].amount.unit_tokens == 32 + 2 * 16
    assert found["train"].amount.batch_tokens == 4 * 2 * 64
