"""A training that diverges ends as a failed stage that names its step; one that is merely done does not."""

from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerState

from gatebench.bench.errors import StageFailed
from gatebench.bench.stages.training.divergence import STILL, divergence_callback, has_an_end
from gatebench.objectives.registry import get_loss
from tests.helpers import DPO, plan_of, run_stage


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """The folder of the good suite's stages, by key, as far as a training rests on them."""
    folder = tmp_path_factory.mktemp("stages")
    for node in plan_of(folder, DPO).nodes.values():
        if node.kind in ("base", "warmup", "reference"):
            run_stage(node, folder, folder / node.key)
    return folder


@pytest.mark.parametrize("rate", ["10", "0.3", "1e30"])
def test_a_learning_rate_beyond_all_measure_fails_the_training(stages, tmp_path, rate):
    text = DPO.replace("  learning_rate: 0.001\n  steps: 4", f"  learning_rate: {rate}\n  steps: 10")
    plan = plan_of(tmp_path, text)
    node = next(node for node in plan.nodes.values() if node.kind == "train")
    with pytest.raises(StageFailed, match=r"at step (\d|10)\b.*try a lower learning rate"):
        run_stage(node, stages, tmp_path / node.key)
    assert not (tmp_path / node.key / "model").exists()


@pytest.mark.parametrize("rate", ["10", "1e30"])
@pytest.mark.parametrize("kind", ["base", "warmup"])
def test_so_it_does_the_base_and_the_warmup(stages, tmp_path, kind, rate):
    usual = "0.002" if kind == "base" else "0.001"
    plan = plan_of(tmp_path, DPO.replace(f"learning_rate: {usual}, batch", f"learning_rate: {rate}, batch"))
    node = next(node for node in plan.nodes.values() if node.kind == kind)
    with pytest.raises(StageFailed, match=r"at step \d.*try a lower learning rate"):
        run_stage(node, stages, tmp_path / node.key)


class Run:
    """A callback handed the gradients, losses and weights of steps by hand, logged every second step."""

    def __init__(self, steps=20, **settings):
        self.callback = divergence_callback(**settings)
        self.weight = torch.nn.Parameter(torch.ones(4))
        self.model = SimpleNamespace(parameters=lambda: iter([self.weight]))
        self.state = TrainerState(max_steps=steps)
        self.callback.on_train_begin(None, self.state, None, model=self.model)

    def step(self, gradient=1.0, loss=1.0):
        self.weight.grad = torch.full((4,), gradient)
        self.callback.on_pre_optimizer_step(None, self.state, None, model=self.model)
        self.state.global_step += 1
        if self.state.global_step % 2 == 0:
            self.callback.on_log(None, self.state, None, model=self.model, logs={"loss": loss})


def test_a_gradient_that_is_no_number_is_named_by_its_step_though_it_was_not_logged():
    run = Run()
    run.step()
    run.step()
    run.step(float("nan"))
    with pytest.raises(StageFailed, match="gradient is nan at step 3"):
        run.step()


def test_a_gradient_of_exactly_zero_fails_in_a_row_alone_and_not_for_a_loss_that_has_an_end():
    run, ended = Run(), Run(may_rest=True)
    for gradient in (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0):
        run.step(gradient)
    for _ in range(STILL):
        ended.step(0.0)
    for _ in range(STILL - 1):
        run.step(0.0)
    assert run.state.global_step == 11
    with pytest.raises(StageFailed, match="exactly 0 at step 12"):
        run.step(0.0)


def test_weights_that_outgrow_themselves_fail_where_they_began_at_something():
    grown, random = Run(may_grow=False), Run()
    for run in (grown, random):
        run.weight.data *= 4.9
        run.step()
        run.step()
        run.weight.data *= 1.1
        run.step()
    random.step()
    with pytest.raises(StageFailed, match=r"5\.39 times their first norm at step 4"):
        grown.step()


def test_a_loss_that_is_no_number_fails_and_one_worse_than_guessing_at_the_end_alone():
    run = Run(steps=4, worst_loss=2.0)
    run.step()
    run.step(loss=3.0)
    run.step()
    with pytest.raises(StageFailed, match="loss is 3 at step 4, the last"):
        run.step(loss=3.0)
    run = Run()
    run.step()
    with pytest.raises(StageFailed, match="loss is inf at step 2"):
        run.step(loss=float("inf"))


def test_only_a_hinge_has_an_end():
    names = ("dpo", "ipo", "cal_dpo", "dpo_shift", "sft", "trl:sigmoid", "trl:hinge", "trl:apo_zero", "trl:aot")
    assert [n for n in names if has_an_end(get_loss(n), get_loss(n).make_parameters())] == ["trl:hinge"]
    assert not has_an_end(get_loss("dpo"), get_loss("dpo").make_parameters(beta=5.0))
