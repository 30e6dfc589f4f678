"""Text to tokens: seven families of tokenizers beside their own templates and beside TRL, and each kind of trap."""

import pytest

from gatebench.bench.data.pairs import Chat, Message, Pair, Probe
from gatebench.bench.models import ladder
from gatebench.bench.models.encoding import Encoder, Lengths
from tests.tokenizers import FAMILIES, LINES, build, family

ROOM = Lengths(512)
TURNS = (("user", "What is the capital of France?"), ("assistant", "Paris."), ("user", "Tell me a joke"))


def chat(*turns, **more):
    return Chat(tuple(Message(role, content) for role, content in turns or TURNS), **more)


def encoded(tokenizer, pair, lengths=ROOM):
    (found,), dropped = Encoder(tokenizer, lengths).pairs([pair])
    assert not dropped
    return found


def rendered(tokenizer, pair, text, **more):
    """The ids of the template's own rendering of a conversation with its answer."""
    turns = [message.as_turn() for message in pair.prompt.messages] + [{"role": "assistant", "content": text}]
    return tokenizer.apply_chat_template(turns, return_dict=True, **more)["input_ids"]


@pytest.mark.parametrize("name", FAMILIES)
def test_an_answer_is_what_the_template_makes_of_it_up_to_the_end_of_its_turn(name):
    tokenizer, pair = family(name), Pair(chat(), " The capital is tea. ", "No.\nFine")
    found = encoded(tokenizer, pair)
    ends = {"gemma": "<end_of_turn>", "phi-3": "<|end|>", "llama-3": "<|eot_id|>"}
    end = tokenizer.convert_tokens_to_ids(ends.get(name, tokenizer.eos_token))
    for text, own in ((pair.chosen, found.chosen), (pair.rejected, found.rejected)):
        whole = rendered(tokenizer, pair, text)
        assert whole[: len(found.prompt) + len(own)] == found.prompt + own
        assert own[-1] == end
        assert own.count(end) == 1
        # what is left of the rendering is no more than what a template writes between turns
        assert tokenizer.decode(whole[len(found.prompt) + len(own) :]).replace(tokenizer.eos_token, "").strip() == ""
    turns = [message.as_turn() for message in pair.prompt.messages]
    asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert found.prompt == asked == Encoder(tokenizer, ROOM).prompt(pair.prompt)


@pytest.fixture(scope="module")
def trl_ids(tmp_path_factory):
    """(tokenizer, row) -> prompt, chosen and rejected ids as TRL's trainer prepares them."""
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import DPOConfig, DPOTrainer

    config = LlamaConfig(
        vocab_size=600, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
    )  # fmt: skip
    arguments = DPOConfig(str(tmp_path_factory.mktemp("trl")), report_to=[], use_cpu=True, max_length=None)

    def prepare(tokenizer, row):
        model = LlamaForCausalLM(config)
        rows = Dataset.from_list([row])
        trainer = DPOTrainer(
            model, LlamaForCausalLM(config), args=arguments, train_dataset=rows, processing_class=tokenizer
        )
        return [trainer.train_dataset[0][f"{side}_ids"] for side in ("prompt", "chosen", "rejected")]

    return prepare


@pytest.mark.parametrize("name", FAMILIES)
def test_conversations_agree_with_trl_but_for_what_follows_the_end_of_a_turn(name, trl_ids):
    tokenizer, pair = family(name), Pair(chat(), "The capital is tea.", "No.")
    row = {
        "prompt": [message.as_turn() for message in pair.prompt.messages],
        "chosen": [{"role": "assistant", "content": pair.chosen}],
        "rejected": [{"role": "assistant", "content": pair.rejected}],
    }
    theirs, ours = trl_ids(tokenizer, row), encoded(tokenizer, pair)
    assert ours.prompt == theirs[0]
    for own, other in ((ours.chosen, theirs[1]), (ours.rejected, theirs[2])):
        assert other[: len(own)] == own
        after = tokenizer.decode(other[len(own) :])
        assert after.strip() in ("", tokenizer.eos_token)
        assert bool(after) == (name in ("gemma", "phi-3", "qwen3", "zephyr", "chatml"))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected"),
    [("Question: 1 + 1?\nAnswer:", " 2.", " I am sorry"), ("Tell me\n", "Tea.", "No, of course")],
)
def test_plain_text_agrees_with_trl(name, prompt, chosen, rejected, trl_ids):
    tokenizer = family(name)
    theirs = trl_ids(tokenizer, {"prompt": prompt, "chosen": chosen, "rejected": rejected})
    ours = encoded(tokenizer, Pair(prompt, chosen, rejected))
    assert [ours.prompt, ours.chosen, ours.rejected] == theirs


@pytest.mark.parametrize("name", FAMILIES)
def test_where_trl_merges_the_prompt_with_an_answer_they_are_kept_apart(name):
    """TRL leaves the end of such a prompt out of training; here the prompt is the one that is seen at inference."""
    tokenizer = family(name)
    found = encoded(tokenizer, Pair("Tell me a jo", "ke", "y"))
    assert tokenizer.decode(found.prompt, skip_special_tokens=True).strip() == "Tell me a jo"
    assert tokenizer.decode(found.prompt + found.chosen, skip_special_tokens=True).strip() == "Tell me a joke"
    assert found.prompt == list(tokenizer("Tell me a jo")["input_ids"])


@pytest.mark.parametrize("name", FAMILIES)
def test_an_end_token_is_not_doubled(name):
    tokenizer = family(name)
    found = encoded(tokenizer, Pair("Answer:", f" 2.{tokenizer.eos_token}", " 2"))
    assert found.chosen.count(tokenizer.eos_token_id) == 1
    assert found.chosen[-1] == found.rejected[-1] == tokenizer.eos_token_id


def test_a_tokenizer_that_ends_every_text_does_not_end_the_prompt():
    found = encoded(build("sp+", "<s>", "</s>", ends=True), Pair("Answer:", " 2.", " 1"))
    tokenizer = build("sp+", "<s>", "</s>")
    assert found == encoded(tokenizer, Pair("Answer:", " 2.", " 1"))
    assert found.prompt[0] == tokenizer.bos_token_id
    assert tokenizer.eos_token_id not in found.prompt


@pytest.mark.parametrize("name", FAMILIES)
def test_a_cut_from_the_left_keeps_the_first_token_and_whole_turns(name):
    tokenizer = family(name)
    text = " ".join(LINES[:4])
    plain = encoded(tokenizer, Pair(text, " Yes", " No"), Lengths(64, 12)).prompt
    whole = encoded(tokenizer, Pair(text, " Yes", " No")).prompt
    first = [tokenizer.bos_token_id] if tokenizer.bos_token else []
    assert plain == first + whole[len(whole) - 12 + len(first) :]

    last = chat(TURNS[-1])
    short = Encoder(tokenizer, ROOM).prompt(last)
    lengths = Lengths(256, len(short) + 3)
    assert encoded(tokenizer, Pair(chat(), "Yes", "No"), lengths).prompt == short
    long = chat(("user", " ".join(LINES[:8])))
    found = Encoder(tokenizer, lengths).prompt(long)
    assert len(found) <= len(short) + 3
    # the header of the turn is whole, its content keeps its end
    opening = tokenizer.apply_chat_template([{"role": "user", "content": ""}], tokenize=False)
    assert tokenizer.decode(found).replace(" ", "")[:4] == opening.replace(" ", "")[:4]
    assert "Fine." in tokenizer.decode(found)


def test_the_ladders_template_writes_answers_as_it_writes_histories(tokenizer):
    found = encoded(tokenizer, Pair(chat(("user", "Drink?"), ("assistant", "Tea"), ("user", "Fruit?")), "Pear", "Fig"))
    assert tokenizer.decode(found.prompt + found.chosen) == (
        "\n\nHuman: Drink?\n\nAssistant: Tea<|end|>\n\nHuman: Fruit?\n\nAssistant: Pear<|end|>"
    )
    tokenizer = ladder.make_tokenizer(LINES)
    tokenizer.chat_template = None
    bare = encoded(tokenizer, Pair(chat(("user", "Drink?"), ("assistant", "Tea"), ("user", "Fruit?")), "Pear", "Fig"))
    assert tokenizer.decode(bare.prompt + bare.chosen).endswith(
        "Assistant: Tea\n\nHuman: Fruit?\n\nAssistant: Pear<|end|>"
    )


def test_tools_and_keywords_of_a_row_reach_the_template():
    tokenizer = family("qwen3")
    quiet = encoded(tokenizer, Pair(chat(template={"enable_thinking": False}), "Tea.", "No."))
    assert tokenizer.decode(quiet.prompt).endswith("</think>\n\n")
    assert tokenizer.decode(quiet.chosen) == "Tea.<|im_end|>"
    told = encoded(tokenizer, Pair(chat(tools=({"name": "weather"},)), "Tea.", "No."))
    assert '{"name": "weather"}' in tokenizer.decode(told.prompt)
    call = Message("assistant", "", {"tool_calls": [{"type": "function", "function": {"name": "weather"}}]})
    pair = Pair(chat(), (call,), "No.")
    assert '<tool_call>\n{"name": "weather"}' in tokenizer.decode(encoded(tokenizer, pair).chosen)
    _, (dropped,) = Encoder(family("zephyr"), ROOM).pairs([pair])
    assert dropped.reason == "the model's chat template refuses it (it does not render tool calls)"


def test_of_several_messages_only_the_assistants_tokens_are_learned():
    tokenizer, call = family("qwen3"), {"type": "function", "function": {"name": "weather"}}
    rest = (
        Message("assistant", "", {"tool_calls": [call]}),
        Message("tool", "Rain."),
        Message("assistant", "It rains."),
    )
    pair = Pair(chat(), rest, "No.")
    found = encoded(tokenizer, pair)
    turns = [message.as_turn() for message in (*pair.prompt.messages, *rest)]
    whole = tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]
    assert found.prompt + found.chosen == whole[:-1]  # but for the newline behind the last turn
    learned = [token for token, own in zip(found.chosen, found.own("chosen"), strict=True) if own]
    assert tokenizer.decode(learned) == (
        '<tool_call>\n{"name": "weather"}\n</tool_call><|im_end|><think>\n\n</think>\n\nIt rains.<|im_end|>'
    )
    assert all(found.own("rejected"))
    assert encoded(tokenizer, pair, Lengths(len(found.prompt) + 20)).chosen == found.chosen[:20]


def test_a_template_that_opens_thoughts_only_at_inference_is_cut_where_both_agree():
    """As TRL: the answer of the data has no thoughts, so it is trained on where a rendered one stands."""
    tokenizer = family("chatml")
    tokenizer.chat_template += "{% if add_generation_prompt %}{{ '<think>\n' }}{% endif %}"
    encoder, pair = Encoder(tokenizer, ROOM), Pair(chat(), "Tea.", "No.")
    found = encoded(tokenizer, pair)
    assert tokenizer.decode(found.prompt).endswith("assistant\n")
    assert tokenizer.decode(found.chosen) == "Tea.<|im_end|>"
    assert tokenizer.decode(encoder.prompt(pair.prompt)).endswith("<think>\n")


def test_a_template_without_an_end_of_turn_gets_the_end_token():
    tokenizer = family("llama-3")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '\n### ' + m['role'] + ':\n' + m['content'] + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '\n### assistant:\n' }}{% endif %}"
    )
    found = encoded(tokenizer, Pair(chat(), "Tea.", "No."))
    assert tokenizer.decode(found.chosen) == "Tea.<|end_of_text|>"


def test_what_a_template_refuses_is_dropped_with_its_place_and_the_templates_words():
    pair = Pair(chat(("system", "Be kind."), ("user", "Hi")), "Tea.", "No.", "rows.jsonl:3")
    kept, (dropped,) = Encoder(family("gemma"), ROOM).pairs([pair])
    assert not kept
    assert (dropped.place, dropped.reason) == (
        "rows.jsonl:3", "the model's chat template refuses it (System role not supported)",
    )  # fmt: skip


def test_every_response_of_a_probe_continues_the_same_prompt():
    tokenizer = family("gemma")
    ((number, probe),) = Encoder(tokenizer, ROOM).probes([Probe(chat(), {"chosen": "Tea.", "irr_hum": " The rain. "})])
    pair = encoded(tokenizer, Pair(chat(), "Tea.", "The rain."))
    assert number == 0
    assert (probe.prompt, probe.responses["chosen"], probe.responses["irr_hum"]) == (
        pair.prompt, pair.chosen, pair.rejected,
    )  # fmt: skip


def test_a_prompt_that_leaves_no_room_is_dropped_and_responses_keep_their_first_tokens(tokenizer):
    long, short = Pair("word " * 80, " a", " b", "x:1"), Pair("Q", " a" * 90, " b", "x:2")
    (kept,), (dropped,) = Encoder(tokenizer, Lengths(64)).pairs([long, short])
    assert (dropped.place, dropped.reason) == ("x:1", "the prompt fills max_length 64")
    assert len(kept.prompt + kept.chosen) == 64
    assert kept.chosen == encoded(tokenizer, short).chosen[: len(kept.chosen)]
