"""lm-eval's per-sample logs -> its metrics by item."""

import pandas
import pytest

from gatebench.bench.metrics import registry
from gatebench.bench.metrics.tasks import sample_rows, task_items, task_metrics


def sample(document, way="none", **values):
    return {"doc_hash": document * 64, "filter": way, "metrics": list(values), **values}


LOGS = {
    "arc": [sample("a", acc=1.0, acc_norm=0.0), sample("b", acc=0.0, acc_norm=1.0), sample("a", acc=1.0, acc_norm=1.0)],
    "sums": [sample("c", "strict", exact_match=1, pair=(1, 2)), sample("c", "loose", exact_match=0, pair=(0, 1)),
             sample("d", "strict", exact_match=0, pair=(1, 2)), sample("d", "loose", exact_match=0, pair=(1, 2))],
    "f": [sample("e", f1=1.0), sample("f", f1=0.0)],
}  # fmt: skip
RESULTS = {"results": {
    "arc": {"alias": "arc", "acc,none": 2 / 3, "acc_stderr,none": 0.1, "acc_norm,none": 2 / 3},
    "sums": {"exact_match,strict": 0.5, "exact_match,loose": 0.0, "pair,strict": 0.3},
    "f": {"f1,none": 0.4},  # over all items at once
}}  # fmt: skip


@pytest.fixture
def items():
    return task_items(pandas.DataFrame(sample_rows(LOGS)), task_metrics(RESULTS))


def test_what_is_a_mean_over_items_is_told_by_item(items):
    assert set(items) == {
        "lm_eval/arc/acc", "lm_eval/arc/acc_norm", "lm_eval/sums/exact_match/strict", "lm_eval/sums/exact_match/loose",
    }  # fmt: skip
    assert items["lm_eval/sums/exact_match/strict"].tolist() == [1.0, 0.0]


def test_an_item_is_known_by_its_document_and_equal_ones_by_their_order(items):
    first = int("a" * 15, 16)
    assert items["lm_eval/arc/acc"].index.tolist() == [first, first + 1, int("b" * 15, 16)]
    assert items["lm_eval/arc/acc_norm"].tolist() == [0.0, 1.0, 1.0]
    again = task_items(pandas.DataFrame(sample_rows({"arc": LOGS["arc"][1:]})), {"lm_eval/arc/acc": (0.5, None)})
    assert set(again["lm_eval/arc/acc"].index) < set(items["lm_eval/arc/acc"].index)


def test_claims_can_name_a_metric_of_any_task():
    assert registry.get_metric("lm_eval/piqa/acc").source.stage == "lm_eval"
    for name in ("lm_eval/piqa", "lm_eval//acc", "lm_eval/"):
        with pytest.raises(ValueError, match=r"expected lm_eval/TASK/METRIC, as lm_eval/piqa/acc"):
            registry.get_metric(name)
