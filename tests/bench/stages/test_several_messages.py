"""Responses of several messages: what others say between its turns is read, never learned or counted."""

import json
import math

import pandas
import pytest
import torch

from gatebench.bench.data.source import DataSource
from gatebench.bench.models.encoding import Encoder, unread
from gatebench.bench.models.loading import load_policy, load_tokenizer
from gatebench.bench.stages.probing import PROBES
from gatebench.bench.stages.reference import REFERENCE_FILE
from gatebench.bench.stages.training.packing import Row, padded
from tests.helpers import DPO, plan_of, run_stage

SUITE = DPO.replace(
    "{name: toolbox, path: builtin:toolbox, train: 24, test: 8}", "{path: rows.jsonl, train: 8, test: 2}"
)
SUITE = SUITE.replace("gates: [none, {kind: seq, alpha: 50, tau: q50}]", "gates: [GATE]").replace(
    "steps: 4", "steps: 1"
)


def rows():
    def says(role, content):
        return {"role": role, "content": content}

    for i in range(10):
        yield {
            "prompt": [says("user", f"Hi {i}")],
            "chosen": [says("assistant", f"Yes {i}?"), says("user", "Tea or pears?"), says("assistant", "Pears.")],
            "rejected": [says("assistant", "No."), says("user", "Tea, then?"), says("assistant", "Go away.")],
        }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(plan of a layout and gate, folder of its stages); what does not differ is made once."""
    folder = tmp_path_factory.mktemp("messages")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    store = folder / "store"

    def made(layout, gate="none"):
        text = SUITE.replace("GATE", gate).replace("max_length: 64", f"max_length: 128\n  layout: {layout}")
        plan = plan_of(folder, text)
        for node in plan.nodes.values():
            if not (store / node.key).exists():
                run_stage(node, store, store / node.key)
        (cell,) = plan.cells
        return plan, {kind: store / key for kind, key in cell.stages.items()}

    return made


def test_only_the_assistants_tokens_count(finished):
    plan, stages = finished("one_row")
    (cell,) = plan.cells
    spec = plan.nodes[cell.stages["reference"]].spec
    tokenizer, policy = load_tokenizer(stages["warmup"]), load_policy(stages["warmup"], "float32").eval()
    pairs, _ = Encoder(tokenizer, spec.lengths).training_pairs(spec.data)
    frame = pandas.read_parquet(stages["reference"] / REFERENCE_FILE)
    probes = pandas.read_parquet(stages["dynamics"] / PROBES).set_index(["step", "split", "kind", "prompt"])["log_prob"]
    for number, pair in enumerate(pairs[:3]):
        for side in ("chosen", "rejected"):
            own, ids = pair.own(side), getattr(pair, side)
            learned = tokenizer.decode([t for t, is_own in zip(ids, own, strict=True) if is_own])
            assert learned == (
                f" Yes {number}?<|end|> Pears.<|end|>" if side == "chosen" else " No.<|end|> Go away.<|end|>"
            )
            with torch.inference_mode():
                log_p = policy(input_ids=torch.tensor([pair.prompt + ids])).logits[0].log_softmax(-1)
            start = len(pair.prompt) - 1
            each = log_p[start:-1].gather(1, torch.tensor(ids)[:, None])[:, 0][torch.tensor(own)]
            assert torch.allclose(torch.tensor(frame[side][number], dtype=torch.float32), each, atol=1e-4)
            assert probes[0, "train", side, number] == pytest.approx(float(each.sum()), abs=1e-3)


@pytest.mark.parametrize("gate", ["none", "{kind: seq, probability: reference}", "{kind: token}"])
def test_the_layouts_train_alike_and_start_at_the_reference(finished, gate):
    found = {}
    for layout in ("trl", "one_row", "packed"):
        _, stages = finished(layout, gate)
        curves = pandas.read_parquet(stages["train"] / "curves.parquet")
        found[layout] = (curves["loss"][0], curves["grad_norm"][0], load_policy(stages["train"], "float32"))
    loss, norm, model = found.pop("trl")
    assert loss == pytest.approx(math.log(2), abs=1e-4)
    for own_loss, own_norm, own_model in found.values():
        assert own_loss == pytest.approx(loss, abs=1e-5)
        assert own_norm == pytest.approx(norm, rel=1e-4)
        pairs = zip(model.parameters(), own_model.parameters(), strict=True)
        assert max(float((a - b).detach().abs().max()) for a, b in pairs) < 2e-4


def test_a_row_of_the_warm_up_learns_what_is_the_assistants():
    labels = padded([Row([1, 2, 3, 4, 5], 2, [True, False, True])])["labels"]
    assert labels.tolist() == [[-100, -100, 3, -100, 5]]


def test_prompts_that_are_left_out_of_a_figure_are_said():
    source = DataSource("content", 8, 2, 4, path="/some/rows.jsonl")
    assert unread(source, "test probes", 3, 3) == []
    (sentence,) = unread(source, "test probes", 1, 3)
    assert sentence.startswith("data set rows.jsonl: 2 of 3 test probes are left out: their prompts leave no room")
