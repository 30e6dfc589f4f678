"""A reward model as a judge: the higher reward wins."""

import pytest

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


def test_a_model_that_is_no_reward_model_fails_in_one_sentence(reward_model, tmp_path):
    with pytest.raises(StageFailed, match="it has 2 outputs; a reward model has one"):
        make_judge(Spec("reward_model", str(reward_model / "two")))
    with pytest.raises(StageFailed, match=r"reward model .*nowhere"):
        make_judge(Spec("reward_model", str(tmp_path / "nowhere")))
