"""A reward model as a judge: the higher reward wins."""

import re
import shutil

import pandas
import pytest
from tokenizers.processors import TemplateProcessing

from gatebench.bench.data.pairs import Chat, Message, plain
from gatebench.bench.errors import StageFailed
from gatebench.bench.judges.api import Comparison, Spec
from gatebench.bench.judges.registry import make_judge
from tests.helpers import no_report

LONGER = Comparison("Which is better?", "a longer answer", "short")


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


@pytest.fixture
def judge(reward_model):
    return make_judge(Spec("reward_model", str(reward_model / "one")))


def rewards_by_hand(judge, rows):
    import torch

    with torch.no_grad():
        return [float(judge.model(input_ids=torch.tensor([row])).logits[0, 0]) for row in rows]


def test_a_conversation_is_judged_as_its_messages_with_one_first_token(judge):
    judge.tokenizer.chat_template = "{{ bos_token }}" + judge.tokenizer.chat_template
    post = TemplateProcessing(single="<|end|> $A", special_tokens=[("<|end|>", 0)])
    judge.tokenizer.backend_tokenizer.post_processor = post  # a tokenizer that puts its first token before every text
    turns = (("system", "Be short."), ("user", "Which is better?"), ("assistant", "short"), ("user", "Why?"))
    text = plain(Chat(tuple(Message(role, content) for role, content in turns)))
    asked = Comparison(text, "a longer answer", "short", turns)
    rows = []
    for answer in (asked.first, asked.second):
        said = [{"role": role, "content": content} for role, content in (*turns, ("assistant", answer))]
        whole = judge.tokenizer.apply_chat_template(said, tokenize=False)
        rows.append(judge.tokenizer(whole, add_special_tokens=False)["input_ids"])
    assert rows[0][:1] == [0]
    assert rows[0][1] != 0
    assert [judge._encoded(text, turns, asked.first), judge._encoded(text, turns, asked.second)] == rows
    # a dialogue that was written out as text is judged as its turns too
    assert judge._encoded(text.replace("Be short.", "Hi"), (), " short")[1:] == judge.tokenizer(
        judge.tokenizer.apply_chat_template(
            [
                {"role": "user", "content": "Hi"}, {"role": "user", "content": "Which is better?"},
                {"role": "assistant", "content": "short"}, {"role": "user", "content": "Why?"},
                {"role": "assistant", "content": "short"},
            ],
            tokenize=False,
        ),
        add_special_tokens=False,
    )["input_ids"][1:]  # fmt: skip
    first, second = rewards_by_hand(judge, rows)
    assert first != second
    assert judge([asked], no_report)[0].score == float(first > second)
    judge.tokenizer.chat_template = None
    assert judge._encoded("short", (), " short") == judge.tokenizer("short short")["input_ids"]


def test_padding_changes_no_reward(judge):
    rows = [judge._encoded("Which is better?", (), answer) for answer in ("short", "a longer answer " * 4)]
    assert judge._rewards(rows) == pytest.approx(rewards_by_hand(judge, rows), abs=1e-5)


def test_what_is_too_long_or_refused_by_the_template_has_no_verdict(judge):
    long = Comparison("Which is better?", "short " * 2000, "short")
    verdicts = judge([long, LONGER], no_report)
    assert verdicts[0].score is None
    assert re.fullmatch(r"\d{4} tokens are more than the 1024 it reads", verdicts[0].why)
    assert verdicts[1].score is not None
    judge.tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    (refused,) = judge([LONGER], no_report)
    assert refused.score is None
    assert "the chat template refuses the conversation (roles must alternate)" in refused.why


def test_a_template_that_takes_too_much_costs_the_verdicts_and_is_asked_no_more(judge, monkeypatch):
    monkeypatch.setattr(judge.rendering, "left", 0.5)
    judge.tokenizer.chat_template = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    verdicts = judge([Comparison(f"Which of {number}?", "one", "other") for number in range(500)], no_report)
    assert {(verdict.score, verdict.why) for verdict in verdicts} == {
        (None, "the chat template refuses the conversation (it takes more than 10 seconds of computing)")
    }
    assert judge.rendering.given_up


def test_a_model_whose_head_is_missing_or_that_cannot_pad_is_refused(reward_model, tmp_path):
    from safetensors.torch import load_file, save_file

    for name in ("headless", "padless"):
        shutil.copytree(reward_model / "one", tmp_path / name)
    weights = load_file(tmp_path / "headless/model.safetensors")
    del weights["score.weight"]
    save_file(weights, tmp_path / "headless/model.safetensors", {"format": "pt"})
    with pytest.raises(StageFailed, match=r"headless: its weights lack score\.weight; transformers would draw"):
        make_judge(Spec("reward_model", str(tmp_path / "headless")))
    for file in ("config.json", "tokenizer_config.json"):
        text = (tmp_path / "padless" / file).read_text()
        (tmp_path / "padless" / file).write_text(re.sub(r'\n *"pad_token(_id)?":[^,]*,', "", text))
    with pytest.raises(StageFailed, match="padless: it has no padding token"):
        make_judge(Spec("reward_model", str(tmp_path / "padless")))


def test_a_model_that_is_no_reward_model_fails_in_one_sentence(reward_model, tmp_path):
    with pytest.raises(StageFailed, match="it has 2 outputs; a reward model has one"):
        make_judge(Spec("reward_model", str(reward_model / "two")))
    with pytest.raises(StageFailed, match=r"reward model .*nowhere"):
        make_judge(Spec("reward_model", str(tmp_path / "nowhere")))


def test_its_verdicts_say_the_rewards_of_both_answers(judge):
    import math

    from gatebench.bench.metrics.verdicts import verdict_metrics
    from gatebench.bench.stages.judge import _verdicts

    turned = Comparison(LONGER.prompt, LONGER.second, LONGER.first)
    first, second = judge([LONGER, turned], no_report)
    assert first.rewards == second.rewards[::-1]
    assert first.score == float(first.rewards[0] > first.rewards[1])
    judge.room = 40
    pairs = pandas.DataFrame({"prompt": [3, 5], "text": LONGER.prompt, "messages": "[]", "tokens": 1, "tokens_other": 2,
                              "response": [LONGER.first, "short " * 40], "response_other": LONGER.second})  # fmt: skip
    frame, why = _verdicts(judge, pairs, no_report)
    found = verdict_metrics(frame.assign(opponent="warmup"))
    assert found["vs_warmup_reward"][3] == first.rewards[0]
    assert found["vs_warmup_reward_gain"][3] == pytest.approx(first.rewards[0] - first.rewards[1])
    assert math.isnan(found["vs_warmup_reward"][5])  # more tokens than it reads
    assert "more than the 40 it reads" in why[0]
