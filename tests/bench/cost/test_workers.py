"""As many workers as the largest stage of a plan leaves room for."""

from gatebench.bench import machine
from gatebench.bench.cost.workers import largest_memory, machine_of, workers_of
from tests.helpers import DPO, GOOD, plan_of

LARGE = DPO.replace("builtin:ladder/neox-0.3m", "EleutherAI/pythia-410m")


def test_small_models_have_a_worker_a_core_and_large_ones_as_many_as_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 4)
    monkeypatch.setattr(machine, "memory", lambda: 16 * 10**9)
    monkeypatch.setattr(machine, "_gpus", lambda: 0)
    small, large = plan_of(tmp_path, GOOD), plan_of(tmp_path, LARGE.replace("seeds: [0]", "seeds: [0, 1]"))
    assert workers_of(small) == (4, 1, 0)
    assert 6e9 < largest_memory(large) < 12e9  # weights, gradients and moments of 4e8 parameters take 6.5e9
    assert workers_of(large) == (16 * 10**9 // largest_memory(large), 2 if largest_memory(large) < 8e9 else 4, 0)
    assert machine_of(large).workers == workers_of(large)[0]


def test_a_plan_divides_the_machine_alike_whatever_was_measured(tmp_path):
    plan = plan_of(tmp_path, LARGE)
    assert largest_memory(plan) == largest_memory(plan_of(tmp_path, LARGE))
