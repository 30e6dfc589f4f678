"""The toolbox: its families, its grading, its probes."""

import pytest

from gatebench.bench.data import toolbox
from gatebench.bench.data.pairs import is_unrelated


def test_toolbox_has_at_least_eight_families_and_twenty_thousand_prompts():
    stream = toolbox.instructions(0)
    seen = {next(stream) for _ in range(20_500)}
    assert len(seen) == 20_500
    assert len({toolbox.question(instruction).family for instruction in seen}) >= 8


def test_toolbox_grades_its_own_answers_and_misses():
    data = toolbox.load_toolbox(300, 100, 50)
    for pair in (*data.train, *data.test):
        assert toolbox.grade(pair.prompt, pair.chosen)
        assert not toolbox.grade(pair.prompt, pair.rejected)
        right = [text for text in toolbox.candidates(pair.prompt) if toolbox.grade(pair.prompt, text)]
        assert len(right) == 3  # plain, semantic, format
    assert not {p.prompt for p in data.train} & {p.prompt for p in data.test}


@pytest.mark.parametrize(
    ("instruction", "response", "right"),
    [
        ("What is 12 plus 30?", " The sum is 42.", True),
        ("What is 12 plus 30?", " The sum is 142.", False),
        ("What is 12 plus 30?", " 42 is not what I say, 43.", False),
        ("Sort from small to large: 40, 10, 30, 20.", " In order: 10, 20, 30, 40.", True),
        ("Sort from small to large: 40, 10, 30, 20.", " In order: 5, 10, 20, 30, 40.", False),
        ("Which day comes 8 days after Monday?", " It is a Tuesday", True),
        ("Spell the word garden.", " g-a-r-d-e-n", True),
        ("Spell the word garden.", "", False),
        ("Write the date 2024-03-05 in words.", " Written out: 5 March 2024.", True),
    ],
)
def test_grading_by_hand(instruction, response, right):
    assert toolbox.grade(toolbox.as_prompt(instruction), response) is right


def test_toolbox_is_a_function_of_its_seed_and_probes_have_every_kind():
    a, b, c = (toolbox.load_toolbox(20, 5, 5, seed) for seed in (1, 1, 2))
    assert a == b
    assert a.train != c.train
    kinds = list(a.probes["train"][0].responses)
    assert sum(map(is_unrelated, kinds)) == 5
    assert {"chosen", "rejected", "chosen_semantic", "chosen_format", "reject_semantic", "reject_format"} <= set(kinds)
