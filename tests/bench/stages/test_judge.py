"""The stage that has answers judged: both orders, what is missing, a judge that says nothing."""

import math

import pandas
import pytest

from gatebench.bench.errors import StageFailed
from gatebench.bench.judges.api import Spec
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
