"""What a stage reads is what its key stands for: what changes after planning is refused, or makes no difference."""

import json
import shutil

import pytest
import torch

from gatebench.bench.data import adapters, readers
from gatebench.bench.data.adapters import load, load_corpus
from gatebench.bench.data.source import DataSource, data_content_of
from gatebench.bench.errors import UserError
from gatebench.bench.executors.loop import check_store
from gatebench.bench.judges.api import Spec as JudgeSpec
from gatebench.bench.models.loading import load_policy, load_tokenizer
from gatebench.bench.models.source import NEVER_LOADED
from gatebench.bench.plan.graph import identity
from gatebench.bench.stages import judge, lm_eval
from gatebench.bench.store.store import Store
from tests.architectures import save
from tests.helpers import DPO, no_report, plan_of, run_stage

CHANGED = "was changed or moved after the suite was planned"
ROWS = [{"prompt": f"Question {i}?", "chosen": f" yes {i}", "rejected": f" no {i}"} for i in range(40)]


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def a_source(file, **more):
    return DataSource(data_content_of(str(file), None, None), 20, 8, 4, path=str(file), **more)


@pytest.fixture
def forgets():
    """What was loaded before, in this process, is loaded again."""
    load.cache_clear()
    load_corpus.cache_clear()


@pytest.mark.usefixtures("forgets")
@pytest.mark.parametrize("read", [load, load_corpus])
@pytest.mark.parametrize("change", ["edited", "same size", "deleted", "a folder now"])
def test_data_that_changed_after_planning_are_refused(tmp_path, read, change):
    file = jsonl(tmp_path / "rows.jsonl", ROWS)
    source = a_source(file)
    if change == "edited":
        jsonl(file, ROWS[::-1] * 2)
    elif change == "same size":
        file.write_text(file.read_text().replace("yes 3", "yea 3"))
    else:
        file.unlink()
        if change == "a folder now":
            file.mkdir()
    with pytest.raises(UserError, match=CHANGED):
        read(source)


@pytest.mark.usefixtures("forgets")
@pytest.mark.parametrize("role", ["test_path", "probes_path"])
def test_so_are_their_held_out_rows_and_probes(tmp_path, role):
    file, other = (jsonl(tmp_path / name, ROWS) for name in ("rows.jsonl", "other.jsonl"))
    source = DataSource(
        data_content_of(str(file), None, None, str(other)), 20, 8, 4, path=str(file), **{role: str(other)}
    )
    load(source)
    load.cache_clear()
    jsonl(other, ROWS[:30])
    with pytest.raises(UserError, match=CHANGED):
        load(source)


@pytest.mark.usefixtures("forgets")
@pytest.mark.parametrize("read", [load, load_corpus])
def test_data_that_change_while_they_are_read_are_refused(tmp_path, monkeypatch, read):
    file = jsonl(tmp_path / "rows.jsonl", ROWS)
    source = a_source(file)

    def edit_then_read(*given):
        jsonl(file, ROWS[::-1])
        return readers.read_rows(*given)

    monkeypatch.setattr(adapters, "read_rows", edit_then_read)
    with pytest.raises(UserError, match=CHANGED):
        read(source)


@pytest.mark.usefixtures("forgets")
def test_a_stage_fails_on_changed_data_in_that_sentence(tmp_path):
    file = jsonl(tmp_path / "rows.jsonl", ROWS)
    text = DPO.replace("path: builtin:toolbox, train: 24", f"path: {file}, train: 24")
    plan = plan_of(tmp_path, text)
    node = next(node for node in plan.nodes.values() if node.kind == "base")
    jsonl(file, ROWS[1:])
    with pytest.raises(UserError, match=CHANGED):
        run_stage(node, tmp_path, tmp_path / "out")


@pytest.fixture
def given(tmp_path, tokenizer):
    """A suite of a local model: its plan's base stage, and the model's folder."""
    folder = tmp_path / "given"
    save("llama", tokenizer, folder)
    text = DPO.replace("builtin:ladder/neox-0.3m", str(folder))
    plan = plan_of(tmp_path, text)
    return next(node for node in plan.nodes.values() if node.kind == "base"), folder


def weights(policy):
    return {name: tensor.clone() for name, tensor in policy.state_dict().items()}


@pytest.mark.parametrize("change", ["moved", "replaced", "overwritten"])
def test_a_model_folder_may_change_once_it_is_in_the_store(given, tmp_path, change):
    node, folder = given
    store = Store(tmp_path / "store")
    place = store.begin("base", node.key)
    run_stage(node, tmp_path, place)
    stage = store.commit(place, "base", node.key, {**identity(node.kind, node.spec, node.inputs), "seconds": 0.0})
    before = weights(load_policy(stage, "float32"))
    vocabulary = load_tokenizer(stage).get_vocab()
    file = folder / "model.safetensors"
    if change == "moved":
        folder.rename(tmp_path / "elsewhere")
    elif change == "replaced":
        shutil.copy(file, tmp_path / "copy")
        file.unlink()
        file.write_bytes(bytes(100))
    else:  # in place, through the link: another content, which is noticed
        content = bytearray(file.read_bytes())
        content[-8:] = bytes(8)
        with file.open("r+b") as opened:
            opened.write(content)
    if change == "overwritten":
        from gatebench.bench.plan.graph import Plan

        assert [event.node.kind for event in check_store(Plan("good", (), {node.key: node}), store)] == ["base"]
        with pytest.raises(UserError, match=CHANGED):
            run_stage(node, tmp_path, tmp_path / "again")
    else:
        after = weights(load_policy(stage, "float32"))
        assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
        assert load_tokenizer(stage).get_vocab() == vocabulary


def test_a_model_folder_that_changed_before_it_is_in_the_store_is_refused(given, tmp_path):
    node, folder = given
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    with pytest.raises(UserError, match=CHANGED):
        run_stage(node, tmp_path, tmp_path / "out")


def test_weights_of_other_formats_are_not_taken_into_the_store(tmp_path, tokenizer):
    folder = tmp_path / "given"
    save("llama", tokenizer, folder)
    for ending in NEVER_LOADED:
        (folder / f"weights{ending}").write_bytes(b"a")
    (folder / "onnx").mkdir()
    (folder / "onnx/config.json").write_text("{}")
    plan = plan_of(tmp_path, DPO.replace("builtin:ladder/neox-0.3m", str(folder)))
    node = next(node for node in plan.nodes.values() if node.kind == "base")
    run_stage(node, tmp_path, tmp_path / "out")
    kept = {str(file.relative_to(tmp_path / "out/model")) for file in (tmp_path / "out/model").rglob("*")}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= kept
    assert not any(name.startswith(("weights.", "onnx")) for name in kept)


def test_a_reward_model_that_changed_is_refused(tmp_path):
    folder = tmp_path / "reward"
    folder.mkdir()
    with pytest.raises(UserError, match=CHANGED):
        judge.run(JudgeSpec("reward_model", str(folder), "another content"), {}, tmp_path, no_report)


def test_task_files_that_changed_are_refused(tmp_path):
    (tmp_path / "task.yaml").write_text("task: own\n")
    content = lm_eval.content_of_tasks(str(tmp_path))
    (tmp_path / "task.yaml").write_text("task: other\n")
    spec = lm_eval.Spec(("own",), content, None, "float32", "0", "hf", str(tmp_path))
    with pytest.raises(UserError, match=CHANGED):
        lm_eval.run(spec, {}, tmp_path, no_report)
