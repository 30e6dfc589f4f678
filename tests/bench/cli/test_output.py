"""Tables on the terminal: names and answers are shown as they are."""

from gatebench.bench.analysis.table import Table, numbers, row, texts
from gatebench.bench.cli.output import print_tables
from gatebench.bench.console import PLAIN, results_console

HOSTILE = ("seq[q50]", "[red]x[/red]", "[/]", ":smile:", "\\[bold]")


def test_no_text_is_taken_as_markup(capsys):
    head = (*texts(*HOSTILE), *numbers("n[bold]"))
    print_tables([Table("suite [i] :x:", head, (row(*HOSTILE, "1"),), caption="note [b]")])
    shown = capsys.readouterr().out
    for text in (*HOSTILE, "n[bold]", "suite [i] :x:", "note [b]"):
        assert text in shown
    assert all(shown.count(text) == 2 for text in HOSTILE)  # in the head and in the row


def test_an_answer_neither_colours_nor_clears_the_terminal(capsys):
    print_tables([Table("t", texts("answer"), (row("\x1b[2J\x9b31mred\rover\a"),))])
    shown = capsys.readouterr().out
    assert "␛[2J�31mred␍over␇" in shown
    assert not set(shown) & {"\x1b", "\x9b", "\r", "\a"}


def test_a_sentence_is_shown_as_it_is(capsys):
    results_console().print("model :smile: [bold]x[/bold]", **PLAIN)
    assert capsys.readouterr().out == "model :smile: [bold]x[/bold]\n"
