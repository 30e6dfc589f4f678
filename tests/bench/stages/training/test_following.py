"""Probes measured as training goes are those that the saved weights give, to the bit, and nothing else is written."""

import pandas
import pytest
import torch
from safetensors.torch import load_file

from gatebench.bench.errors import UserError
from gatebench.bench.stages.probing import PROBES
from gatebench.bench.stages.training import resume
from gatebench.bench.suite.reader import load_suite
from tests.bench.stages.training.test_supervised import LONG, Killed, killed_after
from tests.helpers import GATED_DPO, GOOD, plan_of, run_stage, write

LORA = ", adapter: {kind: lora, r: 4, dropout: 0.1}"
KINDS = {
    "float32": "dtype: float32", "bfloat16": "dtype: bfloat16",
    "lora": f"dtype: float32{LORA}", "lora on bfloat16": f"dtype: bfloat16{LORA}",
}  # fmt: skip
TEXT = LONG.replace("[none, {kind: seq, alpha: 50, tau: q50}]", "[{kind: seq, alpha: 50, tau: q50}]")


def text_of(kind):
    return TEXT.replace("[builtin:ladder/neox-0.3m]", f"[{{path: 'builtin:ladder/neox-0.3m', {KINDS[kind]}}}]")


@pytest.fixture(scope="module", params=KINDS)
def both(request, tmp_path_factory):
    """A cell with all its checkpoints and the same with none: their train nodes, dynamics folders and all's folder."""
    folder = tmp_path_factory.mktemp("stages")
    made = {}
    for keep in ("all", "final"):
        plan = plan_of(folder, text_of(request.param), **{"train.keep": keep})
        (cell,) = plan.cells
        for node in plan.needed_by(cell):
            if not (folder / node.key).exists():
                run_stage(node, folder, folder / node.key)
        made[keep] = plan.nodes[cell.stages["train"]], folder / cell.stages["dynamics"]
    return request.param, made, folder


@pytest.mark.slow
def test_no_bit_differs_from_what_saved_weights_give(both):
    kind, made, folder = both
    frames = {keep: pandas.read_parquet(dynamics / PROBES) for keep, (_, dynamics) in made.items()}
    assert sorted(frames["all"]["step"].unique()) == [0, 10, 20, 24]
    assert frames["all"]["kl"].max() > 0
    pandas.testing.assert_frame_equal(frames["final"], frames["all"], check_exact=True)
    every, last = (folder / made[keep][0].key for keep in ("all", "final"))
    assert sorted(path.name for path in (every / "checkpoints").iterdir()) == ["000010", "000020"]
    assert not (last / "checkpoints").exists()
    assert not (last / "probes").exists()
    (name,) = (path.name for path in (last / "model").glob("*.safetensors"))
    theirs, ours = load_file(every / "model" / name), load_file(last / "model" / name)
    for key, weight in ours.items():
        assert weight.dtype == (torch.bfloat16 if kind == "bfloat16" else torch.float32)
        assert torch.equal(weight, theirs[key].to(weight.dtype))


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_probes(both, tmp_path, monkeypatch):
    _, made, folder = both
    monkeypatch.setattr(resume, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    node, _ = made["final"]
    for number, share in enumerate((0.3, 0.5, 0.7, 0.95)):
        out = tmp_path / str(number)
        with pytest.raises(Killed):
            run_stage(node, folder, out, killed_after(share))
        assert not (out / PROBES).exists()
        run_stage(node, folder, out)
        frames = [pandas.read_parquet(place / PROBES) for place in (out, folder / node.key)]
        pandas.testing.assert_frame_equal(*frames, check_exact=True)


def test_new_probes_are_new_training_unless_every_checkpoint_is_kept(tmp_path):
    def trained(keep, probes):
        plan = plan_of(tmp_path, GATED_DPO, **{"train.keep": keep, "evaluate.dynamics.probes": probes})
        return plan.cells[0].stages["train"]

    assert trained("all", 2) == trained("all", 3)
    assert trained("final", 2) != trained("final", 3)
    assert len({trained(keep, 2) for keep in ("all", "final", "none")}) == 3


@pytest.mark.slow
def test_no_weights_at_all(tmp_path):
    plan = plan_of(tmp_path, GATED_DPO, **{"train.keep": "none"})
    for node in plan.needed_by(plan.cells[0]):
        run_stage(node, tmp_path, tmp_path / node.key)
    trained, measured = (tmp_path / plan.cells[0].stages[kind] for kind in ("train", "dynamics"))
    assert not list(trained.rglob("*.safetensors"))
    assert pandas.read_parquet(measured / PROBES)["step"].max() > 0


@pytest.mark.parametrize("given", ["train", "override"])
def test_answers_need_the_weights(tmp_path, given):
    text = GOOD + "  generate: {prompts: 2}\n"
    if given == "override":
        text += "overrides: [{where: {loss: dpo}, train: {keep: none}}]\n"
    settings = {"train.keep": "none"} if given == "train" else {}
    with pytest.raises(UserError, match=r"train.keep: none leaves no weights for evaluate.generate; write keep: final"):
        load_suite(write(tmp_path, text), None, settings)
