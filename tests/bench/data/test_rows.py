"""Rows to pairs: every layout read rightly, or dropped with its reason; nothing in between."""

import pytest

from gatebench.bench.data.conversation import BadRow, chat_of_transcript
from gatebench.bench.data.pairs import Chat, Message, text_of
from gatebench.bench.data.rows import to_pair, to_probe


def says(role, content, **more):
    return {"role": role, "content": content, **more}


HI, HELLO, GO = says("user", "Hi"), says("assistant", "Hello."), says("assistant", "Go.")
ENDS_IN_USER = "ends in the turn of the user"


def turns(chat):
    return [(message.role, message.content) for message in chat.messages]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [HI], "chosen": [HELLO], "rejected": [GO]},
        {"prompt": [HI], "chosen": [HI, HELLO], "rejected": [HI, GO]},  # the conversation again
        {"chosen": [HI, HELLO], "rejected": [HI, GO]},  # the shared start is the prompt
        {"prompt": "Hi", "chosen": [HI, HELLO], "rejected": [HI, GO]},
        {"prompt": "Hi", "chosen": [HELLO], "rejected": [GO]},
        {"prompt": [HI], "chosen": "Hello.", "rejected": "Go."},
        {"prompt": [HI], "chosen": HELLO, "rejected": GO},  # one message alone
        {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Hello."}, "rejected": {"from": "gpt", "value": "Go."},
        },
        {"messages": [HI], "chosen": [HELLO], "rejected": [GO]},
        {
            "prompt": [says("user", [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}])],
            "chosen": [says("assistant", [{"type": "text", "text": "Hello."}])], "rejected": [GO],
        },
    ],
)  # fmt: skip
def test_one_conversation_in_every_spelling(row):
    pair = to_pair(row)
    assert turns(pair.prompt) == [("user", "Hi")]
    assert (pair.chosen, pair.rejected) == ("Hello.", "Go.")


def test_the_prompt_of_an_explicit_prompt_and_a_completion_of_several_messages_is_kept():
    asked, more = says("user", "And now?"), says("assistant", "Bye.")
    pair = to_pair({"prompt": [HI], "chosen": [HELLO, asked, more], "rejected": [GO]})
    assert turns(pair.prompt) == [("user", "Hi")]
    assert [message.content for message in pair.chosen] == ["Hello.", "And now?", "Bye."]
    assert text_of(pair.chosen) == "Hello.\nBye."
    assert pair.rejected == "Go."


def test_histories_that_differ_part_where_they_differ():
    joke, bye = [says("user", "A joke."), says("assistant", "Tea.")], [says("user", "Bye."), says("assistant", "Fine.")]
    pair = to_pair({"chosen": [HI, HELLO, *joke], "rejected": [HI, GO, *bye]})
    assert turns(pair.prompt) == [("user", "Hi")]
    assert [message.content for message in pair.chosen] == ["Hello.", "A joke.", "Tea."]
    assert [message.content for message in pair.rejected] == ["Go.", "Bye.", "Fine."]
    with pytest.raises(BadRow, match="part in a turn of the user"):
        to_pair({"chosen": [HI, HELLO, *joke], "rejected": [HI, HELLO, *bye]})


def test_what_stands_beside_a_conversation_reaches_its_template():
    row = {"prompt": [HI], "chosen": [HELLO], "rejected": [GO], "chat_template_kwargs": {"thinking": False, "x": None}}
    chat = to_pair({**row, "tools": '[{"name": "weather"}]', "system": "Be kind."}).prompt
    assert chat == Chat(
        (Message("system", "Be kind."), Message("user", "Hi")), ({"name": "weather"},), {"thinking": False}
    )
    with pytest.raises(BadRow, match="'tools' is not JSON"):
        to_pair({**row, "tools": "weather"})


def test_tool_calls_are_no_text():
    call = says("assistant", None, tool_calls=[{"type": "function", "function": {"name": "w", "arguments": {}}}])
    (message,) = to_pair({"prompt": [HI], "chosen": [call], "rejected": [GO]}).chosen
    assert (message.content, message.more["tool_calls"]) == ("", call["tool_calls"])
    theirs = {"from": "function_call", "value": '{"name": "w", "arguments": {}}'}
    row = {
        "conversations": [{"from": "human", "value": "Hi"}],
        "chosen": theirs,
        "rejected": {"from": "gpt", "value": "N"},
    }
    assert to_pair(row).chosen == (message,)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": [HI, HELLO, says("user", "x")], "rejected": [HI, GO, says("user", "y")]}, ENDS_IN_USER),
        ({"prompt": "p", "chosen": 1, "rejected": 0}, "'chosen' is a number; expected text"),
        ({"prompt": "p", "chosen": True, "rejected": "b"}, "'chosen' is true or false; expected text"),
        ({"prompt": 5, "chosen": "a", "rejected": "b"}, "'prompt' is a number; expected text"),
        ({"prompt": "p", "chosen": ["a", "b"], "rejected": ["a", "c"]}, "'chosen' holds a text where a message"),
        ({"prompt": "p", "chosen": [HI, HELLO], "rejected": "c"}, "'chosen' is a list and 'rejected' a text"),
        ({"prompt": "p", "chosen": "\ud83c", "rejected": "c"}, "'chosen' holds half of a surrogate pair"),
        (
            {"prompt": [HI], "chosen": [says("assistant", [{"type": "text", "text": "\udc00"}])], "rejected": [GO]},
            "'chosen' holds half of a surrogate pair",
        ),
        ({"chosen": [HI, says("assistant", "\udc00")], "rejected": [HI, GO]}, "half of a surrogate pair"),
        ({"prompt": [HI], "chosen": [HI], "rejected": [HELLO]}, ENDS_IN_USER),
        ({"prompt": [HI], "chosen": [says("assistant", None)], "rejected": [GO]}, "message of 'chosen' has no content"),
        ({"prompt": [HI], "chosen": [says("assistant", 7)], "rejected": [GO]}, "is a number; expected text"),
        (
            {"prompt": [HI], "chosen": [says("assistant", [{"type": "image_url"}])], "rejected": [GO]},
            "a part of type image_url; only text",
        ),
        ({"prompt": [{"content": "Hi"}], "chosen": [HELLO], "rejected": [GO]}, "a message of 'prompt' has no role"),
        ({"prompt": [says("narrator", "x")], "chosen": [HELLO], "rejected": [GO]}, "has the role 'narrator'; expected"),
        ({"chosen": [HELLO], "rejected": [GO]}, "share no turn, and there is no prompt"),
        ({"prompt": [], "chosen": "a", "rejected": "b"}, "'prompt' is empty"),
        (None, "the row is null; expected an object"),
        ([1], "the row is a list; expected an object"),
        ("text", "the row is a text; expected an object"),
        ({"prompt": "p", "chosen": float("nan"), "rejected": "b"}, "'chosen' is a number; expected text"),
    ],
)  # fmt: skip
def test_what_has_no_plain_meaning_is_dropped_with_its_reason(row, reason):
    with pytest.raises(BadRow) as caught:
        to_pair(row)
    assert reason in caught.value.reason


def test_a_probe_of_half_a_surrogate_pair_is_dropped():
    with pytest.raises(BadRow, match="'irr_hum' holds half of a surrogate pair"):
        to_probe({"prompt": "p", "chosen": "a", "rejected": "b", "irr_hum": "\ud83c"})


def test_columns_of_other_names_are_found_and_mapped():
    row = {"question": "Q?", "answer_chosen": " a", "answer_rejected": " b"}
    with pytest.raises(BadRow) as caught:
        to_pair(row)
    columns = {"prompt": "question", "chosen": "answer_chosen", "rejected": "answer_rejected"}
    assert "columns: {prompt: question, chosen: answer_chosen, rejected: answer_rejected}" in caught.value.reason
    pair = to_pair(row, columns)
    assert (pair.prompt, pair.chosen, pair.rejected) == ("Q?", " a", " b")
    assert set(to_probe({**row, "chosen_semantic": "c"}, columns).responses) == {
        "chosen",
        "rejected",
        "chosen_semantic",
    }
    with pytest.raises(BadRow, match="no column 'answer_choosen', which columns names for chosen; did you mean"):
        to_pair(row, {**columns, "chosen": "answer_choosen"})


def test_transcripts_are_read_as_messages_where_a_data_set_says_so():
    start = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Tea or\n\npears?\n\nAssistant:"
    row = {"chosen": f"{start} Tea.", "rejected": f"{start} No."}
    assert to_pair(row).prompt == start
    pair = to_pair(row, transcripts="messages")
    assert turns(pair.prompt) == [("user", "Hi"), ("assistant", "Yes?"), ("user", "Tea or\n\npears?")]
    assert (pair.chosen, pair.rejected) == ("Tea.", "No.")
    probe = to_probe({"prompt": start, "chosen": " Tea.", "rejected": " No.", "irr_hum": " Rain."}, None, "messages")
    assert probe.responses == {"chosen": "Tea.", "rejected": "No.", "irr_hum": "Rain."}
    with pytest.raises(BadRow, match="the prompt is no transcript"):
        to_pair({"prompt": "Q?", "chosen": "a", "rejected": "b"}, transcripts="messages")
    assert chat_of_transcript(start) == pair.prompt
