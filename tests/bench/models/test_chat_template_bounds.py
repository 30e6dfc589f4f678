"""A chat template is a program that comes with a model: one that never ends or takes all memory ends in a sentence."""

import contextlib
import json
import resource
import signal
import threading
import time

import pytest

from gatebench.bench.data.pairs import Chat, Message, Pair
from gatebench.bench.models import chat_template
from gatebench.bench.models.bounds import within
from gatebench.bench.models.chat_template import ChatTemplate, Rendering, TemplateRefused
from gatebench.bench.models.encoding import Encoder, Lengths
from tests.architectures import save
from tests.helpers import DPO, bench, write
from tests.tokenizers import CHATML, family

LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
OUT = "the model's chat template is out of bounds (it "
TOO_MUCH = f"{OUT}takes more than "
CHAT = Chat((Message("user", "Hi"),))
PAIRS = [Pair(Chat((Message("user", f"Question {n}"),)), "Yes.", "No.") for n in range(3000)]


@pytest.fixture
def tokenizer():
    return family("chatml")


@pytest.fixture
def in_a_hurry(monkeypatch):
    monkeypatch.setattr(chat_template, "COMPUTING", 1.0)


def refusal(tokenizer, template):
    tokenizer.chat_template = template
    with pytest.raises(TemplateRefused) as caught:
        ChatTemplate(tokenizer).prompt(CHAT)
    return str(caught.value)


@pytest.mark.parametrize(
    "template",
    [LOOPS, "{{ 9 ** (9 ** 9) }}", "{% for a in range(99999) %}{{ (range(99999) | sum) }}{% endfor %}"],
    ids=["loops", "a power", "sums"],
)  # fmt: skip
def test_a_template_without_an_end_is_given_up_and_asked_no_more(in_a_hurry, tokenizer, template):
    tokenizer.chat_template = template
    kept, dropped = Encoder(tokenizer, Lengths(64)).pairs(PAIRS)
    assert not kept
    assert len(dropped) == len(PAIRS)
    assert {row.reason for row in dropped} == {f"{TOO_MUCH}1 seconds of computing)"}


@pytest.mark.parametrize(
    "template",
    ["{{ 'a' * 10**10 }}", "{{ (['a' * 10**6] * 10**5) | join }}", "{{ [0] * 10**9 }}",
     "{% set text = namespace(a='a') %}{% for n in range(60) %}{% set text.a = text.a + text.a %}{% endfor %}",
     "{{ '%2000000000d' % 1 }}"],
    ids=["a text", "joined", "a list", "doubled", "padding"],
)  # fmt: skip
def test_a_template_that_takes_all_memory_is_refused(tokenizer, template):
    tokenizer.chat_template = template
    kept, dropped = Encoder(tokenizer, Lengths(64)).pairs(PAIRS[:2])
    assert not kept
    assert [row.reason for row in dropped] == [f"{TOO_MUCH}1 GiB of memory)"] * 2


def test_templates_that_take_little_of_everything_thousands_of_times_are_given_up_too(
    in_a_hurry, tokenizer, monkeypatch
):
    monkeypatch.setattr(chat_template, "A_RENDERING", 0.001)
    tokenizer.chat_template = "{% for a in range(99999) %}{% for b in range(40) %}{% endfor %}{% endfor %}"
    _, dropped = Encoder(tokenizer, Lengths(64)).pairs(PAIRS)
    assert dropped[-1].reason == f"{TOO_MUCH}1 seconds of computing)"


def test_a_text_without_measure_is_refused_before_it_is_tokenized(tokenizer):
    for size in (10**5, 9 * 10**6):
        found = refusal(tokenizer, "{{ 'a' * " + str(size) + " }}")
        assert found.startswith(f"{OUT}makes {size:,} characters of what may take 6")
    tokenizer.chat_template = CHATML
    with pytest.raises(TemplateRefused, match=r"characters of what may take 8,388,608\)"):
        ChatTemplate(tokenizer).prompt(Chat((Message("user", "a" * 9 * 10**6),)))


def test_a_long_conversation_and_a_long_preamble_are_no_fault(tokenizer):
    long = Chat((Message("user", "word " * 200_000), Message("assistant", "Yes."), Message("user", "And?")))
    tokenizer.chat_template = "{{ 'Be kind. ' * 5000 }}" + CHATML
    assert len(ChatTemplate(tokenizer).prompt(long)) > 1_000_000
    assert len(ChatTemplate(tokenizer).prompt(CHAT)) > 45_000


@pytest.mark.parametrize(
    ("template", "why"),
    [("{{ 1 // 0 }}", "integer division or modulo by zero"),
     ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "maximum recursion depth exceeded"),
     ("{{ 'a' * 10**20 }}", "cannot fit 'int' into an index-sized integer"), ("{{ " + "(" * 5000, ""),
     ("{% if %}", "Expected an expression"), ("{{ messages[7].content.x }}", "has no element 7"),
     ("{{ raise_exception('') }}", "TemplateError")],
)  # fmt: skip
def test_whatever_a_template_raises_is_its_refusal(tokenizer, template, why):
    found = refusal(tokenizer, template)
    assert found.startswith("the model's chat template refuses it (")
    assert why in found


def test_variables_of_a_row_that_clash_with_ours_are_a_refusal(tokenizer):
    for name in ("tools", "tokenize", "add_generation_prompt", "conversation"):
        with pytest.raises(TemplateRefused, match="multiple values for"):
            ChatTemplate(tokenizer).prompt(Chat(CHAT.messages, (), {name: []}))
    for name in ("generate", "turns", "more"):  # ours, and nobody's there
        assert ChatTemplate(tokenizer).prompt(Chat(CHAT.messages, (), {name: []}))


def test_what_stood_before_stands_again(in_a_hurry, tokenizer):
    limits, timer = resource.getrlimit(resource.RLIMIT_AS), signal.getitimer(signal.ITIMER_PROF)
    handler = signal.getsignal(signal.SIGPROF)
    for template in (CHATML, LOOPS, "{{ 'a' * 10**10 }}", "{{ 1 // 0 }}"):
        tokenizer.chat_template = template
        with contextlib.suppress(TemplateRefused):
            Rendering(tokenizer)([{"role": "user", "content": "Hi"}])
        assert resource.getrlimit(resource.RLIMIT_AS) == limits
        assert signal.getitimer(signal.ITIMER_PROF) == timer
        assert signal.getsignal(signal.SIGPROF) is handler


def test_outside_of_the_main_thread_memory_is_bounded_and_threads_leave_no_limit_behind(tokenizer):
    tokenizer.chat_template = "{{ 'a' * 10**10 }}"
    limits, found = resource.getrlimit(resource.RLIMIT_AS), []

    def ask():
        for _ in range(20):
            with pytest.raises(TemplateRefused) as caught:
                ChatTemplate(tokenizer).prompt(CHAT)
            found.append(str(caught.value))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [f"{TOO_MUCH}1 GiB of memory)"] * 80
    assert resource.getrlimit(resource.RLIMIT_AS) == limits


def test_a_process_that_was_stopped_has_not_computed():
    assert within(0.2, 2**30, lambda: time.sleep(0.5) or "there") == "there"


def test_an_exception_handler_of_the_program_does_not_keep_it_running():
    def swallows():
        while True:
            with contextlib.suppress(Exception):
                while True:
                    pass

    with pytest.raises(TimeoutError, match=r"more than 0\.2 seconds"):
        within(0.2, 2**30, swallows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "why"),
    [(LOOPS, "10 seconds of computing"), ("{{ 'a' * 10**10 }}", "1 GiB of memory")],
    ids=["loops", "memory"],
)
def test_a_plan_with_such_a_model_ends_in_a_sentence(tmp_path, tokenizer, template, why):
    tokenizer.chat_template = template
    save("llama", tokenizer, tmp_path / "bomb")
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    rows = [{"prompt": turns, "chosen": f"Yes {n}", "rejected": "No"} for n in range(1000)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = DPO.replace("builtin:ladder/neox-0.3m", "./bomb").replace(
        "{name: toolbox, path: builtin:toolbox, train: 24, test: 8}", "{path: rows.jsonl, train: 900, test: 8}"
    )
    done = bench("plan", write(tmp_path, text))
    assert done.returncode == 2
    assert done.stderr == (
        f"model bomb, data set rows: {tmp_path}/rows.jsonl:1: {TOO_MUCH}{why}); 900 of 900 training rows cannot be "
        "used, more than the 5% allowed. Mend the template that the model comes with, or take another model\n"
    )
