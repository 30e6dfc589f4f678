"""lm-eval's own options reach its prompts, and a model that has a chat template is not asked without it unnoticed."""

import json
import shutil

import pytest

from gatebench.bench.errors import StageFailed, UserError
from gatebench.bench.stages import lm_eval as stage
from tests.helpers import DPO, no_report, plan_of

pytestmark = pytest.mark.slow  # lm-eval reads thousands of task files
TASK = """task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
fewshot_split: test
output_type: multiple_choice
doc_to_text: "{{{{q}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: 0
metric_list: [{{metric: acc}}]
"""
TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture
def asked(model_paths, tokenizer, tmp_path, monkeypatch):
    """What lm-eval asked of a policy with a chat template of its own, and the stage's facts, by the suite's options."""
    import lm_eval

    policy, tasks = tmp_path / "policy", tmp_path / "tasks"
    shutil.copytree(model_paths["llama"], policy / "model")
    (policy / "model/chat_template.jinja").write_text(TEMPLATE)
    tasks.mkdir()
    rows = [{"q": f"What is {i} plus 2?", "choices": [f" {i + 2}", f" {i}"]} for i in range(6)]
    (tasks / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tasks / "sums.yaml").write_text(TASK.format(data=tasks / "data.jsonl"))
    fixed = TASK.replace("task: sums", "task: fixed_sums\nnum_fewshot: 0")
    (tasks / "fixed.yaml").write_text(fixed.format(data=tasks / "data.jsonl"))
    unsafe = TASK.replace("task: sums", "task: programs\nunsafe_code: true")
    (tasks / "unsafe.yaml").write_text(unsafe.format(data=tasks / "data.jsonl"))
    real, found, told = lm_eval.simple_evaluate, [], []

    def evaluate(**given):
        told.append(given)
        found.append(real(**given))
        return found[-1]

    monkeypatch.setattr(lm_eval, "simple_evaluate", evaluate)

    def ask(options, task="sums", limit=", limit: 2"):
        own = "include_path: tasks, confirm_run_unsafe_code: true"
        wish = f"  lm_eval: {{tasks: [{task}], {own}{limit}{options}}}\n"
        plan = plan_of(tmp_path, DPO + wish)
        spec = next(node.spec for node in plan.nodes.values() if node.kind == "lm_eval")
        facts = stage.run(spec, {"policy": policy}, tmp_path, no_report)
        return [sample["arguments"][0][0] for sample in found[-1]["samples"][task]], facts["cautions"]

    ask.policy, ask.told = policy, told
    return ask


def test_the_prompt_has_the_template_the_system_turn_and_the_examples_as_turns(asked):
    prompts, cautions = asked(", apply_chat_template: true, num_fewshot: 1, system_instruction: Be brief.")
    assert all(prompt.startswith("[system]Be brief.[user]What is ") for prompt in prompts)
    assert all(prompt.count("[user]") == 2 for prompt in prompts)
    assert all(prompt.endswith("?[assistant]") for prompt in prompts)
    assert cautions == []
    joined, _ = asked(", apply_chat_template: true, num_fewshot: 1, fewshot_as_multiturn: false")
    assert all(prompt.count("[user]") == 1 for prompt in joined)


def test_a_task_that_keeps_its_own_number_of_examples_is_said(asked):
    prompts, cautions = asked(", apply_chat_template: true, num_fewshot: 2", "fixed_sums")
    assert all(prompt.count("[user]") == 1 for prompt in prompts)
    assert cautions == ["num_fewshot 2: fixed_sums keeps the 0 that its task file says"]


def test_a_template_that_nobody_decided_on_is_said(asked):
    prompts, cautions = asked("")
    assert prompts == ["What is 0 plus 2?", "What is 1 plus 2?"]
    assert cautions == [stage.WITHOUT_TEMPLATE]
    assert asked(", apply_chat_template: false") == (prompts, [])
    (asked.policy / "model/chat_template.jinja").unlink()
    with pytest.raises(StageFailed, match="the policy's tokenizer has no chat template"):
        asked(", apply_chat_template: true")


def test_a_task_that_runs_what_the_model_writes_is_not_run(asked):
    with pytest.raises(StageFailed, match=r"task: programs which is marked as unsafe\. It runs what the model writes"):
        asked("", "programs")


def test_a_template_that_takes_too_much_ends_the_stage_before_lm_eval_renders_it(asked, monkeypatch):
    monkeypatch.setattr("gatebench.bench.models.chat_template.COMPUTING", 0.5)
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    (asked.policy / "model/chat_template.jinja").write_text(loops)
    with pytest.raises(
        StageFailed, match=r"apply_chat_template: the model's chat template is out of bounds \(it takes"
    ):
        asked(", apply_chat_template: true")


def test_its_metrics_are_kept_by_item(asked, tmp_path):
    asked("", limit="")
    values, items = stage.with_errors(tmp_path), stage.by_item(tmp_path)
    assert set(items) == set(values) == {"lm_eval/sums/acc"}
    assert len(items["lm_eval/sums/acc"]) == 6
    assert items["lm_eval/sums/acc"].mean() == pytest.approx(values["lm_eval/sums/acc"][0])
    assert "samples" not in json.loads((tmp_path / stage.RESULTS_FILE).read_text())
    whole = items["lm_eval/sums/acc"]
    asked("", limit=", samples: {sums: [4, 1]}")
    some = stage.by_item(tmp_path)["lm_eval/sums/acc"]
    assert len(some) == 2
    assert some.to_dict() == whole[some.index].to_dict()


def test_options_of_the_harness_reach_it_by_their_own_names(asked):
    more = "gen_kwargs: {temperature: 0.5, do_sample: true}, bootstrap_iters: 10, fewshot_random_seed: 7, "
    asked(f", {more}batch_size: 3, max_length: 48, add_bos_token: false")
    given = asked.told[-1]
    assert given["gen_kwargs"] == {"temperature": 0.5, "do_sample": True}
    assert (given["bootstrap_iters"], given["fewshot_random_seed"], given["random_seed"]) == (10, 7, 1234)
    assert (given["model"].batch_size, given["model"].max_length, given["model"].add_bos_token) == (3, 48, False)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("limit: 2, samples: {toolbox_choice: [0]}", "samples and limit both say which documents are asked"),
        ("samples: {toolbox_choise: [0]}", r"task of samples 'toolbox_choise'.*toolbox_choice"),
        ("enable_thinking: true", "enable_thinking is read by a chat template; give apply_chat_template: true"),
        ("bootstrap_iter: 3", "bootstrap_iters"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, options, sentence):
    with pytest.raises(UserError, match=sentence):
        plan_of(tmp_path, DPO + f"  lm_eval: {{tasks: [toolbox_choice], {options}}}\n")


def test_options_count_in_a_key_only_where_they_are_given(tmp_path):
    def key(options=""):
        plan = plan_of(tmp_path, DPO + f"  lm_eval: {{tasks: [toolbox_choice]{options}}}\n")
        return next(key for key, node in plan.nodes.items() if node.kind == "lm_eval")

    options = ("", ", num_fewshot: 0", ", apply_chat_template: false", ", apply_chat_template: true",
               ", max_length: 99", ", gen_kwargs: {top_k: 3}", ", samples: {toolbox_choice: [1]}")  # fmt: skip
    assert len({key(option) for option in options}) == len(options)
    assert key() == key(", num_fewshot: null, max_length: null, gen_kwargs: {}")
