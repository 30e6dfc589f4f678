"""Every registered metric, and a toy one that touches nothing but its own function."""

from dataclasses import replace

import pytest

from gatebench.bench.analysis.summary import summarize
from gatebench.bench.analysis.tables import claims_table, results_table
from gatebench.bench.metrics import registry
from gatebench.bench.metrics.metric import REGISTERED, SPLIT_PREFIXES, metric
from gatebench.bench.suite.claims import Claim
from gatebench.bench.suite.tuning import Tune
from tests.conformance.metric import MetricConformance
from tests.golden.run import finished
from tests.toys import added

OURS = [found for source in registry.sources() for found in source.metrics()]
CLAIM = {
    "name": "the toy rises", "metric": "toy_lead", "contrast": {"gate": ["seq", "none"]}, "by": ["objective"],
    "expect": "greater",
}  # fmt: skip


class TestMetrics(MetricConformance):
    @pytest.fixture(params=OURS, ids=lambda found: f"{found.source.stage}-{found.name}")
    def metric(self, request):
        return request.param


class TestToy(MetricConformance):
    @pytest.fixture
    def metric(self):
        with added("metric"):
            yield registry.get_metric("toy_lead")


@pytest.fixture
def toy():
    with added("metric"):
        yield


@pytest.mark.usefixtures("toy")
def test_a_new_metric_is_in_every_list_that_it_asks_for():
    assert {"toy_lead", "test_toy_lead"} <= set(registry.names())
    assert "toy_lead" in registry.headline()
    assert "toy_lead" in registry.measured_always()
    assert "test_toy_lead" in registry.reported()
    assert "toy_lead" in registry.higher_is_better()
    assert "toy_lead" in registry.tunable()
    assert "toy_lead" not in registry.published() + registry.drawn_as_curves()
    assert Tune.model_validate({"maximize": "toy_lead"}).maximize == ["toy_lead"]
    assert Claim.model_validate({**CLAIM, "metric": "test_toy_lead"}).metric == "test_toy_lead"


@pytest.mark.slow
@pytest.mark.usefixtures("toy")
def test_a_new_metric_is_in_the_results_of_a_run_that_was_finished_before(shared):
    """Of stages that are in the store already, in its table and in a claim about it."""
    done = finished(shared)
    found = summarize(replace(done.plan, claims=(Claim.model_validate(CLAIM),)), done.store)
    for cell in found.cells:
        metrics = cell.metrics
        assert metrics["toy_lead"] == pytest.approx(metrics["margin"] - metrics["delta_rejected"])
        assert metrics["toy_lead_lo"] <= metrics["toy_lead"] <= metrics["toy_lead_hi"]
    assert "toy lead" in [column.name for column in results_table(found).head]
    assert found.claims[0].contrasts
    assert "the toy rises: toy_lead greater" in str(claims_table(found))


def test_a_toy_leaves_nothing_behind():
    before = dict(REGISTERED), dict(SPLIT_PREFIXES)
    for module in ("metric", "stage"):
        with added(module):
            assert before[0] != REGISTERED
    assert before == (REGISTERED, SPLIT_PREFIXES)


def test_a_name_that_stands_twice_is_refused(toy):
    source = registry.get_metric("toy_lead").source

    def toy_lead(probes):
        raise NotImplementedError

    with pytest.raises(ValueError, match="metric 'toy_lead' of dynamics stands twice"):
        metric(source, title="another", unit="nats")(toy_lead)
