"""`bench perf` measures what it says; its figures are read, not asserted."""

from rich.console import Console

from bench.perf.harness import measure


def test_the_harness_is_measured_over_cells_without_work():
    plan, overhead, again, statistics = measure(Console(quiet=True), planned=20, cells=10)
    assert plan.what == "plan of 20 cells"
    assert "10 cells" in overhead.what
    assert "10 cells" in again.what
    assert "1,000 cells x 500 probes" in statistics.what
    assert min(plan.seconds, overhead.seconds, again.seconds, statistics.seconds) > 0
