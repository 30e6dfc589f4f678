"""Judges: exact grading, a reward model, and an endpoint that is down, slow, full or talks nonsense."""

import math
import time

import numpy
import pandas
import pytest

from gatebench.bench.data.toolbox import grade, load_toolbox
from gatebench.bench.errors import StageFailed
from gatebench.bench.judges import endpoint
from gatebench.bench.judges.api import Comparison, Spec
from gatebench.bench.judges.registry import make_judge
from gatebench.bench.metrics import verdicts
from gatebench.bench.stages import judge as stage
from tests.helpers import judge_server, no_report

LONGER = Comparison("Which is better?", "a longer answer", "short")


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(endpoint, "RETRY_PAUSE", 0.01)


def ask(url, *comparisons):
    return make_judge(Spec("endpoint", "any", url=url, key="JUDGE_KEY"))(comparisons, no_report)


def prefers_the_longer(question):
    first, second = (question.split(f"<answer {name}>\n")[1].split("\n</answer")[0] for name in "AB")
    return "Both are fine. [[A]]" if len(first) > len(second) else "[[B]]"


@pytest.mark.parametrize(
    ("said", "score"),
    [("[[A]]", 1), ("B", 0), ("I like [[A]] first, but in the end [[B]]", 0), ("[[c]]", 0.5), ("tie", 0.5),
     ("[[tie]]", 0.5),
     ("A good answer is rare", None), ("", None), ("[[D]]", None)],
)  # fmt: skip
def test_a_reply_is_read_for_its_verdict_alone(said, score):
    assert endpoint.verdict_of(said) == score


def test_an_endpoint_is_asked_with_its_key_and_judges(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "secret")
    with judge_server(prefers_the_longer) as server:
        one, other = ask(server.url, LONGER, Comparison("Which?", "short", "a longer answer"))
    assert (one.score, other.score) == (1.0, 0.0)
    path, key, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert key == "Bearer secret"
    assert body["model"] == "any"
    assert body["temperature"] == 0


def test_429_is_asked_again_after_the_pause_that_the_server_wants(impatient):
    with judge_server(429, 503, "[[A]]") as server:
        started = time.monotonic()
        (verdict,) = ask(server.url, LONGER)
    assert verdict.score == 1.0
    assert time.monotonic() - started >= 1  # of Retry-After
    assert len(server.requests) == 3


def test_nonsense_is_asked_again_and_then_recorded(impatient):
    with judge_server("Well, it depends.", "[[B]]") as server:
        assert ask(server.url, LONGER)[0].score == 0.0
    with judge_server("Well, it depends.") as server:
        (verdict,) = ask(server.url, LONGER)
    assert verdict.score is None
    assert verdict.why == "no verdict in 'Well, it depends.'"


def test_a_judge_that_is_down_or_full_or_refuses_is_recorded_without_its_address(impatient):
    with judge_server(401) as server:
        assert ask(server.url, LONGER)[0].why == "HTTP 401"
        assert len(server.requests) == 1  # a refusal is not asked again
    assert ask(server.url, LONGER)[0].why == "no connection"
    with judge_server(500) as server:
        assert ask(server.url, LONGER)[0].why == "HTTP 500"
        assert len(server.requests) == endpoint.TRIES


def test_a_judge_that_is_slow_is_not_waited_for_for_ever(impatient, monkeypatch):
    monkeypatch.setattr(endpoint, "SECONDS", (1.0, 0.2))
    with judge_server(lambda question: time.sleep(1) or "[[A]]") as server:
        (verdict,) = ask(server.url, LONGER)
    assert verdict.score is None
    assert verdict.why in ("no answer in time", "no connection")


def test_after_failures_in_a_row_the_rest_is_not_asked(impatient):
    with judge_server(401) as server:
        verdicts = ask(server.url, *[LONGER] * 100)
    assert [verdict.score for verdict in verdicts] == [None] * 100
    assert "not asked" in verdicts[-1].why
    assert len(server.requests) < endpoint.MOST_FAILURES + endpoint.ASKED_AT_ONCE + 1


def test_exact_grading_prefers_the_right_answer():
    row = load_toolbox(1, 0, 0, 10).train[0]
    assert grade(row.prompt, row.chosen)
    assert not grade(row.prompt, row.rejected)
    found = make_judge(Spec("exact"))(
        [Comparison(row.prompt, row.chosen, row.rejected), Comparison(row.prompt, row.rejected, row.chosen),
         Comparison(row.prompt, row.chosen, row.chosen)],
        print,
    )  # fmt: skip
    assert [verdict.score for verdict in found] == [1.0, 0.0, 0.5]


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory):
    """A classifier with random weights and one output, and another with two."""
    import torch
    from transformers import LlamaForSequenceClassification

    from gatebench.bench.models import ladder

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("rewards")
    tokenizer = ladder.make_tokenizer(["Which is better? a longer answer short"] * 3)
    for name, outputs in (("one", 1), ("two", 2)):
        config = ladder.make_config("builtin:ladder/llama-0.3m")
        config.num_labels = outputs
        LlamaForSequenceClassification(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def test_a_reward_model_prefers_the_answer_with_the_higher_reward(reward_model):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    turned = Comparison(LONGER.prompt, LONGER.second, LONGER.first)
    same = Comparison(LONGER.prompt, "short", "short")
    found = make_judge(Spec("reward_model", str(reward_model / "one")))([LONGER, turned, same], no_report)
    model = AutoModelForSequenceClassification.from_pretrained(reward_model / "one").eval()
    tokenizer = AutoTokenizer.from_pretrained(reward_model / "one")
    rewards = []
    for answer in (LONGER.first, LONGER.second):
        turns = [{"role": "user", "content": LONGER.prompt}, {"role": "assistant", "content": answer}]
        ids = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), return_tensors="pt")
        with torch.no_grad():
            rewards.append(float(model(**ids).logits[0, 0]))
    assert rewards[0] != rewards[1]
    first = float(rewards[0] > rewards[1])
    assert [verdict.score for verdict in found] == [first, 1 - first, 0.5]


def test_a_model_that_is_no_reward_model_fails_in_one_sentence(reward_model, tmp_path):
    with pytest.raises(StageFailed, match="it has 2 outputs; a reward model has one"):
        make_judge(Spec("reward_model", str(reward_model / "two")))
    with pytest.raises(StageFailed, match=r"reward model .*nowhere"):
        make_judge(Spec("reward_model", str(tmp_path / "nowhere")))


def answers(folder, responses):
    """A generate stage's folder."""
    folder.mkdir()
    frame = pandas.DataFrame({"prompt": range(len(responses)), "text": [f"prompt {i}" for i in range(len(responses))],
                              "response": responses, "tokens": [len(r) for r in responses]})  # fmt: skip
    frame.to_parquet(folder / stage.ANSWERS)
    return folder


def test_the_stage_asks_in_both_orders_and_counts_what_is_missing(tmp_path, impatient):
    own = answers(tmp_path / "own", ["a longer answer", "x", "same", "broken"])
    inputs = {"own": own, "warmup": answers(tmp_path / "warmup", ["short", "yy", "same", "broken"])}

    def reply(question):  # likes the first place where it sees no difference
        return 500 if "broken" in question else "[[A]]" if question.count("same") == 2 else prefers_the_longer(question)

    with judge_server(reply) as server:
        facts = stage.run(Spec("endpoint", "any", url=server.url), inputs, tmp_path, no_report)
    assert (facts["comparisons"], facts["missing"]) == (4, 1)
    assert facts["caution"] == "judge endpoint any: 1 of 4 comparisons have no verdict, most often: HTTP 500"
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


def test_the_win_rate_at_equal_length_is_that_of_a_judge_who_does_not_look_at_length():
    rng = numpy.random.default_rng(0)
    longer = rng.normal(10, 20, 4000)  # answers are longer by 10 tokens, and each adds a hundredth to the win rate
    wins = (rng.random(4000) < 0.4 + 0.01 * longer.clip(-40, 60)).astype(float)
    assert wins.mean() == pytest.approx(0.5, abs=0.03)
    assert verdicts.at_equal_length(wins, longer).mean() == pytest.approx(0.4, abs=0.03)
    numpy.testing.assert_array_equal(verdicts.at_equal_length(wins, numpy.full(4000, 3.0)), wins)
    with_gap = wins.copy()
    with_gap[0] = math.nan
    found = verdicts.at_equal_length(with_gap, longer)
    assert math.isnan(found[0])
    assert not numpy.isnan(found[1:]).any()
