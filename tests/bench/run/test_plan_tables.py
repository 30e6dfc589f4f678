"""A mark in a plan's tables has its meaning below the table, and no table explains a mark that it does not have."""

from gatebench.bench.cost.estimate import Cost, SuiteCost
from gatebench.bench.run.plan_tables import plan_tables
from tests.helpers import DPO, plan_of


def captions(plan, seconds, measured):
    cost = Cost(seconds, 1000.0, 1e9, 1e6, 1e6, measured)
    kinds = {node.kind: cost for node in plan.nodes.values()}
    found = SuiteCost(kinds, {cell.id: cost for cell in plan.cells}, cost, None)
    return [table.caption or "" for table in plan_tables(plan, set(), found)]


def test_marks_are_explained_where_they_stand_and_only_there(tmp_path):
    plan = plan_of(tmp_path, DPO)
    cells, stages = captions(plan, None, False)
    assert "?: nothing like it was timed" in cells
    assert "≈" not in cells
    assert "?: nothing like it was timed" in stages
    assert "≈: at most so much" in stages
    assert captions(plan, 5.0, True) == ["", ""]
