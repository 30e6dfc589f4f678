"""The stage that has answers judged: both orders, what is missing, a judge that says nothing."""

import json
import math

import pandas
import pytest

from gatebench.bench.data.source import file_digest
from gatebench.bench.errors import StageFailed, UserError
from gatebench.bench.judges.api import Spec
from gatebench.bench.judges.endpoint import OwnWords
from gatebench.bench.judges.votes import Vote, append_vote
from gatebench.bench.metrics import verdicts
from gatebench.bench.stages import judge as stage
from gatebench.bench.stages.generate import ANSWERS_FILE
from tests.helpers import judge_server, no_report, prefers_the_longer


def answers(folder, responses):
    """A generate stage's folder."""
    folder.mkdir()
    frame = pandas.DataFrame({"prompt": range(len(responses)), "text": [f"prompt {i}" for i in range(len(responses))],
                              "response": responses, "messages": "[]",
                              "tokens": [len(response) for response in responses]})  # fmt: skip
    frame.to_parquet(folder / ANSWERS_FILE)
    return folder


def test_the_stage_asks_in_both_orders_and_counts_what_is_missing(tmp_path, impatient):
    own = answers(tmp_path / "own", ["a longer answer", "x", "same", "broken"])
    inputs = {"own": own, "warmup": answers(tmp_path / "warmup", ["short", "yy", "same", "broken"])}

    def reply(question):  # likes the first place where it sees no difference
        return 500 if "broken" in question else "[[A]]" if question.count("same") == 2 else prefers_the_longer(question)

    with judge_server(reply) as server:
        facts = stage.run(Spec("endpoint", "any", url=server.url), inputs, tmp_path, no_report)
    assert (facts["comparisons"], facts["missing"]) == (4, 1)
    assert facts["cautions"] == ["judge endpoint any: 1 of 4 comparisons have no verdict, most often: HTTP 500"]
    frame = pandas.read_parquet(tmp_path / stage.VERDICTS_FILE)
    assert frame["first"].tolist()[:3] == [1.0, 0.0, 1.0]
    assert frame["second"].tolist()[:3] == [1.0, 0.0, 0.0]
    found = verdicts.verdict_metrics(frame)
    assert found["vs_warmup_win_rate"].tolist()[:3] == [1.0, 0.0, 0.5]
    assert math.isnan(found["vs_warmup_win_rate"][3])
    assert found["vs_warmup_missing"].mean() == 0.25
    assert found["vs_warmup_inconsistent"].tolist()[:3] == [0.0, 0.0, 1.0]
    assert found["vs_warmup_tie"].tolist()[:3] == [0.0, 0.0, 1.0]


def test_a_judge_without_any_verdict_fails_the_stage_so_that_it_is_asked_again(tmp_path, impatient):
    inputs = {"own": answers(tmp_path / "own", ["a", "b"]), "warmup": answers(tmp_path / "warmup", ["c", "d"])}
    sentence = r"2 of 2 comparisons have no verdict.*HTTP 401"
    with judge_server(401) as server, pytest.raises(StageFailed, match=sentence):
        stage.run(Spec("endpoint", "any", url=server.url), inputs, tmp_path, no_report)


def test_a_baseline_from_a_file_is_an_opponent_too(tmp_path):
    own = answers(tmp_path / "own", ["a longer answer", "x", "no answer to this"])
    inputs = {"own": own, "warmup": answers(tmp_path / "warmup", ["short", "yy", "z"])}
    file = tmp_path / "baseline.json"
    rows = [
        {"instruction": f"prompt {i}", "output": text, "generator": "best"} for i, text in enumerate(["tiny", "ab"])
    ]
    file.write_text(json.dumps(rows))

    def graded(question):
        return "[[A>>B]]" if "A" in prefers_the_longer(question)[-4:] else "[[B>A]]"

    with judge_server(graded) as server:
        spec = Spec("arena_hard", "any", url=server.url, parameters=OwnWords(), baseline=str(file),
                    baseline_content=file_digest(str(file)))  # fmt: skip
        facts = stage.run(spec, inputs, tmp_path, no_report)
    assert facts["comparisons"] == 5
    assert facts["cautions"] == ["the baseline baseline.json has no answer to 1 of 3 prompts"]
    frame = stage.judged_answers(tmp_path, inputs).set_index(["opponent", "prompt"]).loc["baseline"]
    assert frame["opponent_response"].tolist() == ["tiny", "ab"]
    assert frame["response"].tolist() == ["a longer answer", "x"]
    assert frame[["first", "second"]].to_numpy().tolist() == [[1, 1], [0, 0]]
    assert frame[["first_much", "second_much"]].to_numpy().tolist() == [[True, False], [False, True]]
    found = stage.by_prompt(tmp_path, inputs).set_index("prompt")
    assert found["vs_baseline_win_rate"].dropna().tolist() == [1, 0]
    assert found["vs_baseline_arena_score"].mean() == pytest.approx(0.5)
    assert "vs_baseline_win_rate_lc" not in found
    assert {"vs_warmup_win_rate_glm", "vs_baseline_win_rate_style"} <= set(found)


def test_a_baseline_of_other_questions_fails_the_stage(tmp_path):
    file = tmp_path / "baseline.json"
    file.write_text(json.dumps([{"instruction": "something else", "output": "x"}]))
    inputs = {"own": answers(tmp_path / "own", ["a"]), "warmup": answers(tmp_path / "warmup", ["b"])}
    spec = Spec("exact", baseline=str(file), baseline_content=file_digest(str(file)))
    with pytest.raises(StageFailed, match="has no answer to 1 of 1 prompts; expected answers to the very questions"):
        stage.run(spec, inputs, tmp_path, no_report)
    file.write_text("[]")
    with pytest.raises(UserError, match="changed or moved"):
        stage.run(spec, inputs, tmp_path, no_report)


def test_answers_that_nobody_has_voted_on_are_missing_and_no_failure(tmp_path):
    """Their ungated twin's may have votes; with more of them it is another stage."""
    file = tmp_path / "votes.jsonl"
    append_vote(file, Vote("anna", "prompt 0", "a", "something else", 1.0))
    inputs = {"own": answers(tmp_path / "own", ["a", "b"]), "warmup": answers(tmp_path / "warmup", ["c", "d"])}
    spec = Spec("human", content=file_digest(str(file)), votes=str(file))
    facts = stage.run(spec, inputs, tmp_path, no_report)
    assert facts["cautions"][0].startswith("judge human: 2 of 2 comparisons have no verdict, most often: no vote on")
    found = stage.by_prompt(tmp_path, inputs)
    assert found["vs_warmup_win_rate"].isna().all()
    assert found["vs_warmup_missing"].tolist() == [1.0, 1.0]
