"""The stage that has a policy answer: conversations stay messages as far as the judge, and no empty text is a stop."""

import json
import shutil

import pandas
import pytest

from gatebench.bench.data.pairs import Chat, Message, plain
from gatebench.bench.errors import UserError
from gatebench.bench.judges.api import TIE, Verdict
from gatebench.bench.stages import generate, judge
from tests.helpers import DPO, no_report, plan_of, run_stage

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 1 plus 2?"}]
ANSWERING = "  generate: {backend: transformers, prompts: 4, max_tokens: 4}\n"


class Recorder:
    """A judge that sees no difference, and what it was asked."""

    ordered = True

    def __init__(self):
        self.asked = []

    def __call__(self, comparisons, report):
        self.asked += comparisons
        return [Verdict(TIE)] * len(comparisons)


def test_a_judge_gets_a_conversation_as_its_messages(model_paths, tmp_path):
    rows = [
        {"prompt": prompt, "chosen": f" {n}", "rejected": f" -{n}"} for n, prompt in enumerate([TURNS, "Plain?"] * 4)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = DPO.replace("path: builtin:toolbox, train: 24, test: 8", "path: ./pairs.jsonl, train: 4, test: 4")
    plan = plan_of(tmp_path, text + ANSWERING)
    node = next(node for node in plan.nodes.values() if node.kind == "generate")
    policy = next(key for role, _, key in node.inputs if role == "policy")
    shutil.copytree(model_paths["llama"], tmp_path / policy / "model")
    run_stage(node, tmp_path, tmp_path / "out")
    frame = pandas.read_parquet(tmp_path / "out" / generate.ANSWERS_FILE)
    recorder, pairs = Recorder(), frame.assign(response_other="another", tokens_other=1)
    judge._verdicts(recorder, pairs, no_report)
    turns = (("system", "Be brief."), ("user", "What is 1 plus 2?"))
    conversation = Chat(tuple(Message(role, content) for role, content in turns))
    assert [asked.messages for asked in recorder.asked] == [turns, (), turns, ()] * 2
    assert [asked.prompt for asked in recorder.asked[:2]] == [plain(conversation), "Plain?"]


def test_a_stop_of_no_text_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"generate\.stop"):
        plan_of(tmp_path, DPO + ANSWERING.replace("max_tokens: 4", "stop: ['']"))


def test_questions_of_a_file_are_asked_in_place_of_the_held_out_prompts(model_paths, tmp_path):
    questions = [{"uid": f"q{n}", "category": "math", "prompt": f"What is {n} plus 2?"} for n in range(6)]
    (tmp_path / "question.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    asking = ANSWERING.replace("prompts: 4", "prompts: 4, questions: question.jsonl")
    plain_keys = set(plan_of(tmp_path, DPO + ANSWERING).nodes)
    node = next(node for node in plan_of(tmp_path, DPO + asking).nodes.values() if node.kind == "generate")
    assert node.key not in plain_keys
    policy = next(key for role, _, key in node.inputs if role == "policy")
    shutil.copytree(model_paths["llama"], tmp_path / policy / "model")
    facts = run_stage(node, tmp_path, tmp_path / "out")
    assert any("4 of the 6 questions of question.jsonl are asked" in told for told in facts["cautions"])
    frame = pandas.read_parquet(tmp_path / "out" / generate.ANSWERS_FILE)
    assert frame["uid"].tolist() == ["q0", "q1", "q2", "q3"]
    assert frame["text"][1] == "Question: What is 1 plus 2?\nAnswer:"
    assert "passed" not in frame
    (tmp_path / "question.jsonl").write_text(json.dumps(questions[0]) + "\n")
    with pytest.raises(UserError, match="changed or moved"):
        run_stage(node, tmp_path, tmp_path / "again")


@pytest.mark.parametrize(
    ("added", "sentence"),
    [
        ("  generate: {questions: ./none.json}\n", "evaluate.generate.questions: './none.json' does not exist"),
        ("  generate: {questions: bad.json}\n", r"bad\.json: row 0: no key 'instruction'"),
        (ANSWERING + "  judge: {kind: exact, baseline: ./none.json}\n", "evaluate.judge.baseline: './none.json' does"),
        (ANSWERING + "  judge: {kind: exact, baseline: bad.json}\n", r"bad\.json: row 0: no key 'instruction'"),
        (ANSWERING + "  judge: {kind: human}\n", "a judge of kind human needs votes; votes is missing"),
        (ANSWERING + "  judge: {kind: human, votes: bad.json}\n", r"bad\.json:1: not a vote"),
        ("  generate: {questions: good.json}\n  judge: exact\n", "good.json has no exact grading"),
        (ANSWERING + "  judge: exact\nclaims: [{name: c, metric: judge_vs_baseline_win_rate, expect: greater, "
         "contrast: {gate: [seq, none]}}]\n", "needs a file of answers; give evaluate.judge.baseline"),
    ],
)  # fmt: skip
def test_files_of_questions_baselines_and_votes_are_read_before_anything_runs(tmp_path, added, sentence):
    (tmp_path / "bad.json").write_text('[{"question": "Why?"}]')
    (tmp_path / "good.json").write_text('[{"instruction": "Why?"}]')
    with pytest.raises(UserError, match=sentence):
        plan_of(tmp_path, DPO + added)


SAMPLING = ANSWERING.replace("max_tokens: 4", "max_tokens: 4, samples: 3, temperature: 1.0")


def answered(text, model_paths, folder):
    """The table of the first generate stage of a suite, on a small model."""
    folder.mkdir()
    plan = plan_of(folder, text)
    node = next(node for node in plan.nodes.values() if node.kind == "generate")
    policy = next(key for role, _, key in node.inputs if role == "policy")
    shutil.copytree(model_paths["llama"], folder / policy / "model")
    facts = run_stage(node, folder, folder / "out")
    return facts, pandas.read_parquet(folder / "out" / generate.ANSWERS_FILE)


def test_several_samples_are_as_many_rows_a_prompt_and_differ(model_paths, tmp_path):
    facts, frame = answered(DPO + SAMPLING, model_paths, tmp_path / "several")
    assert facts["prompts"] == 4
    assert frame["prompt"].tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert frame["sample"].tolist() == [0, 1, 2] * 4
    assert frame.groupby("prompt")["response"].nunique().max() > 1
    assert generate.first_answers(tmp_path / "several/out")["prompt"].tolist() == [0, 1, 2, 3]
    _, again = answered(DPO + SAMPLING, model_paths, tmp_path / "again")
    assert again.equals(frame)


def test_one_sample_is_what_it_was(model_paths, tmp_path):
    one = DPO + ANSWERING.replace("max_tokens: 4", "max_tokens: 4, samples: 1")
    plans = plan_of(tmp_path, DPO + ANSWERING), plan_of(tmp_path, one), plan_of(tmp_path, DPO + SAMPLING)
    assert plans[0].nodes.keys() == plans[1].nodes.keys()
    moved = {node.kind for key, node in plans[2].nodes.items() if key not in plans[0].nodes}
    assert moved == {"generate"}
    assert "sample" not in answered(one, model_paths, tmp_path / "one")[1]


def test_several_greedy_samples_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"samples: 3 greedy answers to a prompt are one and the same"):
        plan_of(tmp_path, DPO + SAMPLING.replace("temperature: 1.0", "temperature: 0"))
