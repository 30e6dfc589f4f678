"""Exact grading of the toolbox's answers."""

from gatebench.bench.data.toolbox import grade, load_toolbox
from gatebench.bench.judges.api import Comparison, Spec
from gatebench.bench.judges.registry import make_judge


def test_exact_grading_prefers_the_right_answer():
    row = load_toolbox(1, 0, 0).train[0]
    assert grade(row.prompt, row.chosen)
    assert not grade(row.prompt, row.rejected)
    found = make_judge(Spec("exact"))(
        [Comparison(row.prompt, row.chosen, row.rejected), Comparison(row.prompt, row.rejected, row.chosen),
         Comparison(row.prompt, row.chosen, row.chosen)],
        print,
    )  # fmt: skip
    assert [verdict.score for verdict in found] == [1.0, 0.0, 0.5]
