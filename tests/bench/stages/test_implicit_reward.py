"""The stage that scores right and wrong answers: sums by hand, the reference's own rewards, and what is refused."""

import json
import shutil

import pandas
import pytest

from gatebench.bench.errors import UserError
from gatebench.bench.stages import implicit_reward as stage
from tests.helpers import DPO, load_model, no_report, plan_of, response_log_prob, run_stage

ROWS = [
    {"prompt": "Question: What is 1 plus 2?\nAnswer:", "chosen": [" It is 3."], "rejected": [" It is 4.", " It is 5."]},
    {"id": "ref:0", "prompt": "A colour?", "chosen": [" red"], "rejected": [" seven"]},
    {"id": "tied:0", "prompt": "A colour!", "chosen": [" red", " blue"], "rejected": [" seven"]},
]  # fmt: skip
WISH = "  implicit_reward: ./choices.jsonl\n"


@pytest.fixture
def planned(tmp_path):
    """A plan whose cells are tested by the rows."""
    (tmp_path / "choices.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return plan_of(tmp_path, DPO + WISH)


def nodes_of(plan):
    return [node for node in plan.nodes.values() if node.kind == "implicit_reward"]


def test_log_probs_are_those_of_a_plain_row_and_rewards_their_change(planned, model_paths, tmp_path):
    start, own = nodes_of(planned)[:2]
    places = {role: tmp_path / key for role, _, key in own.inputs}
    for role, model in (("policy", "llama"), ("train", "neox")):
        shutil.copytree(model_paths[model], places[role] / "model")
    for node in (start, own):
        facts = run_stage(node, tmp_path, tmp_path / node.key)
    assert facts["rows"] == 3
    frame = pandas.read_parquet(tmp_path / start.key / stage.SCORED_FILE)
    assert frame["right"].tolist() == [True, False, False, True, False, True, True, False]
    assert frame["id"].tolist() == [""] * 3 + ["ref:0"] * 2 + ["tied:0"] * 3
    from transformers import AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(model_paths["llama"]), load_model(model_paths["llama"])
    prompt = tokenizer(ROWS[0]["prompt"])["input_ids"]
    answer = [*tokenizer(" It is 4.", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    assert frame["log_prob"][1] == pytest.approx(response_log_prob(model, prompt, answer), abs=1e-3)
    found = stage.by_prompt(tmp_path / own.key, {"start": tmp_path / start.key})
    assert found["prompt"].tolist() == [0, 2]
    trained = pandas.read_parquet(tmp_path / own.key / stage.SCORED_FILE)
    rewards = (trained["log_prob"] - frame["log_prob"]).tolist()
    assert found["margin"][0] == pytest.approx(rewards[0] - max(rewards[1:3]))
    same = stage.by_prompt(tmp_path / start.key, {"start": tmp_path / start.key})
    assert same["accuracy"][0] == pytest.approx(1 / 3)  # a policy that did not change tells nothing apart


def test_all_cells_share_the_references_rewards_and_nothing_else_moves(planned, tmp_path):
    assert len(nodes_of(planned)) == 3  # two cells, one warm-up policy
    before = plan_of(tmp_path, DPO).nodes.keys()
    assert {node.kind for key, node in planned.nodes.items() if key not in before} == {"implicit_reward"}


def test_what_cannot_be_is_refused_before_anything_runs(planned, tmp_path):
    with pytest.raises(UserError, match=r"implicit_reward\.path: './choises\.jsonl' is no file.*choices\.jsonl"):
        plan_of(tmp_path, DPO + WISH.replace("choices", "choises"))
    with pytest.raises(UserError, match=r"keep: none leaves no weights for evaluate.implicit_reward"):
        plan_of(tmp_path, DPO + WISH, **{"train.keep": "none"})
    with pytest.raises(UserError, match=r"implicit_reward\.max_length: 100000 tokens are too many"):
        plan_of(tmp_path, DPO + "  implicit_reward: {path: ./choices.jsonl, max_length: 100000}\n")
    claim = "claims: [{name: c, metric: reward_accuracy, contrast: {gate: [seq, none]}, expect: greater}]\n"
    with pytest.raises(UserError, match=r"measured by evaluate\.implicit_reward, which this suite does not have"):
        plan_of(tmp_path, DPO + claim)
    (tmp_path / "choices.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    with pytest.raises(UserError, match="changed"):
        stage.run(nodes_of(planned)[0].spec, {}, tmp_path, no_report)


def test_answers_that_are_cut_and_rows_that_do_not_fit_are_said():
    spec = stage.Spec("", stage.Lengths(64), "text", None, path="choices.jsonl")
    told = stage._cautions(spec, 1, 3, 2, 9)
    assert told[0].startswith("choices.jsonl: 1 of 3 rows are left out")
    assert told[1].startswith("choices.jsonl: 2 of 9 answers reach max_length 64, where they are cut")
