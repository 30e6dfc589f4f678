"""A full memory halves the micro-batch, never the effective batch."""

import pytest
import torch

from gatebench.bench.errors import StageFailed
from gatebench.bench.stages.training.memory import with_smaller_batches
from tests.helpers import GATED_DPO, plan_of, run_stage


def test_halved_until_it_fits():
    tried, cleared = [], []

    def attempt(micro):
        tried.append(micro)
        if micro > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "fits"

    assert with_smaller_batches(12, attempt, lambda: cleared.append(1)) == ("fits", 3)
    assert tried == [12, 6, 3]
    assert len(cleared) == 2


def test_other_errors_and_a_batch_of_one_are_not_tried_again():
    def wrong(micro):
        raise RuntimeError("shapes differ")

    def never(micro):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    with pytest.raises(RuntimeError, match="shapes differ"):
        with_smaller_batches(4, wrong, lambda: None)
    with pytest.raises(StageFailed, match="out of memory with a micro-batch of 1"):
        with_smaller_batches(4, never, lambda: None)


def test_the_allocator_of_the_cpu_is_recognised():
    def attempt(micro):
        return torch.empty(2**60, dtype=torch.uint8) if micro > 1 else "fits"

    assert with_smaller_batches(2, attempt, lambda: None) == ("fits", 1)


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    plan = plan_of(folder, GATED_DPO, **{"train.keep": "all"})
    for node in plan.nodes.values():
        if node.kind != "dynamics":
            run_stage(node, folder, folder / node.key)
    return plan, folder


# a batch of four short pairs is one pass of the trainer, and one of eight responses is packed into six rows
@pytest.mark.parametrize(("kind", "batch", "rows"), [("base", 8, 8), ("warmup", 8, 6), ("train", 4, 4)])
def test_a_stage_that_runs_out_of_memory_ends_with_the_same_steps(stages, kind, batch, rows, tmp_path, monkeypatch):
    """The first passes over the full batch fail in the model itself; the halves fit."""
    from safetensors.torch import load_file
    from transformers import GPTNeoXModel

    plan, folder = stages
    (node,) = [node for node in plan.nodes.values() if node.kind == kind]
    honest, refused = GPTNeoXModel.forward, []

    def tight(self, input_ids=None, **rest):
        if len(input_ids) > batch // 2:
            refused.append(len(input_ids))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return honest(self, input_ids=input_ids, **rest)

    monkeypatch.setattr(GPTNeoXModel, "forward", tight)
    facts = run_stage(node, folder, tmp_path)
    assert refused == [rows]
    assert facts["micro_batch_size"] == batch // 2
    ours, theirs = (load_file(place / "model/model.safetensors") for place in (tmp_path, folder / node.key))
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, atol=2e-4, rtol=0)
