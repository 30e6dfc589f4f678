"""How far a training moved its weights, and what is said of one that moved nearly none."""

import pytest
import torch

from gatebench.bench.errors import StageFailed
from gatebench.bench.models.loading import load_policy, lora_config
from gatebench.bench.models.source import Adapter
from gatebench.bench.stages.stage import CAUTIONS
from gatebench.bench.stages.training import change
from tests.helpers import DPO, load_model, plan_of, run_stage


def test_share_and_size_of_an_update_by_hand(model_paths):
    before, after = (load_model(model_paths["neox"]) for _ in range(2))
    with torch.no_grad():
        after.get_input_embeddings().weight[:100] += 0.5
        after.gpt_neox.final_layer_norm.weight += 1.0
    found = change.of_weights(before, after)
    weights = sum(p.numel() for p in before.parameters())
    ends = before.get_input_embeddings().weight.numel() + before.get_output_embeddings().weight.numel()
    width = before.config.hidden_size
    assert found.changed == pytest.approx((100 * width + width) / weights)
    assert found.inside == pytest.approx(width / (weights - ends))
    norm = sum(float(p.detach().double().square().sum()) for p in before.parameters()) ** 0.5
    assert found.update == pytest.approx((100 * width * 0.25 + width) ** 0.5 / norm, rel=1e-6)


def test_an_adapter_moves_the_matrices_under_it_as_far_as_their_type_can_tell(model_paths):
    from peft import get_peft_model

    plain = load_model(model_paths["llama"], dtype=torch.bfloat16)
    model = get_peft_model(plain, lora_config(Adapter(r=4, alpha=8), plain))
    parts = [p for name, p in model.named_parameters() if "lora_" in name]
    assert {p.dtype for p in parts} == {torch.float32}
    assert change.of_adapter(model, torch.float32).update == 0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter += 1e-6
    single, half = (change.of_adapter(model, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert single.changed > 0.9
    assert half.changed < 0.01


def about_weights(facts):
    return sum("of the weights between the embeddings" in sentence for sentence in facts[CAUTIONS])


@pytest.mark.parametrize(("rate", "expected"), [("0.001", 0), ("1e-11", 1)])
def test_a_training_that_moves_nearly_nothing_says_so(tmp_path, rate, expected):
    text = DPO.replace("  learning_rate: 0.001\n", f"  learning_rate: {rate}\n").replace("gates: [none, ", "gates: [")
    plan = plan_of(tmp_path, text)
    facts = {node.kind: run_stage(node, tmp_path, tmp_path / node.key) for node in plan.nodes.values()}
    assert [about_weights(facts[kind]) for kind in ("warmup", "train")] == [0, expected]
    if expected:
        assert "the training, 4 steps with learning_rate 1e-11, changed only" in " ".join(facts["train"][CAUTIONS])
    for kind in ("warmup", "train"):
        assert set(change.FACTS) <= set(facts[kind])
    assert (facts["train"]["weights_changed"] > 0.5) == (expected == 0)


def test_a_policy_that_went_too_far_is_refused():
    change.Change(1.0, 1.0, 1.2).check(7)
    for update in (4.1, float("nan"), float("inf")):
        with pytest.raises(StageFailed, match="at step 7"):
            change.Change(1.0, 1.0, update).check(7)


def test_an_adapter_is_merged_in_float32_into_what_lay_under_it(tmp_path):
    text = DPO.replace("[none, {", "[{").replace(
        "[builtin:ladder/neox-0.3m]",
        "[{path: 'builtin:ladder/llama-0.3m', dtype: bfloat16, adapter: {kind: lora, r: 4}}]",
    )
    plan = plan_of(tmp_path, text.replace("  learning_rate: 0.001\n", "  learning_rate: 1e-7\n"))
    facts = {}
    for node in plan.nodes.values():
        facts[node.kind, len(node.inputs)] = run_stage(node, tmp_path, tmp_path / node.key)
    (cell,) = plan.cells
    warm, trained = (tmp_path / cell.stages[kind] for kind in ("warmup", "train"))
    policy, frozen = load_policy(warm, "float32"), load_policy(warm, "bfloat16").float()
    assert not all(torch.equal(a, b) for a, b in zip(policy.parameters(), frozen.parameters(), strict=True))
    moved = change.of_weights(frozen, load_policy(trained, "float32"))
    assert moved.inside > 0.9
    assert moved.update < 1e-3
    swallowed = change.of_weights(frozen, load_policy(trained, "bfloat16").float())
    assert swallowed.inside < 0.2
    (train,) = [found for (kind, _), found in facts.items() if kind == "train"]
    assert train["update"] < 1e-3
    assert about_weights(train) == 0
