"""The toolbox: its families, its grading, its probes."""

import pytest

from gatebench.bench.data import toolbox
from gatebench.bench.data.pairs import NEAR_MISS, WORDED_APART, is_unrelated
from gatebench.bench.data.tasks.questions import _asked
from gatebench.bench.data.toolbox_questions import EASY_FAMILIES, QUESTION_FAMILIES, question
from gatebench.bench.metrics.geometry import share_edited

KINDS = (WORDED_APART, NEAR_MISS)


def test_toolbox_has_at_least_eight_families_and_twenty_thousand_prompts():
    stream = toolbox.instructions(0)
    seen = {next(stream) for _ in range(20_500)}
    assert len(seen) == 20_500
    assert {question(instruction).family for instruction in seen} == {family.name for family in QUESTION_FAMILIES}


def test_toolbox_grades_its_own_answers_and_misses():
    data = toolbox.load_toolbox(300, 100, 50)
    for pair in (*data.train, *data.test):
        assert toolbox.grade(pair.prompt, pair.chosen)
        assert not toolbox.grade(pair.prompt, pair.rejected)
        right = [text for text in toolbox.candidates(pair.prompt) if toolbox.grade(pair.prompt, text)]
        assert len(right) == 3  # plain, semantic, format
    assert not {p.prompt for p in data.train} & {p.prompt for p in data.test}


def test_pairs_are_of_two_kinds_which_are_what_they_are_called():
    pairs = toolbox.load_toolbox(400, 0, 0).train
    words = {kind: [(p.chosen.split(), p.rejected.split()) for p in pairs if p.kind == kind] for kind in KINDS}
    assert len(words[NEAR_MISS]) + len(words[WORDED_APART]) == len(pairs)
    assert 150 < len(words[NEAR_MISS]) < 250
    assert all(chosen[0] == rejected[0] for chosen, rejected in words[NEAR_MISS])
    assert min(share_edited(*sides) for sides in words[WORDED_APART]) > 0.7
    assert all(chosen[0] != rejected[0] for chosen, rejected in words[WORDED_APART])
    longer = sum(len(chosen) > len(rejected) for chosen, rejected in words[WORDED_APART])
    assert 0.4 < longer / len(words[WORDED_APART]) < 0.6  # neither style is the better one
    assert {probe.pair for probe in toolbox.load_toolbox(40, 0, 40).probes["train"]} == set(KINDS)


def test_three_quarters_of_the_questions_are_easy_and_of_them_some_are_left_for_tasks():
    easy = {family.name for family in EASY_FAMILIES}
    held_out = [toolbox.asked_in(pair.prompt).family for pair in toolbox.load_toolbox(500, 200, 0).test]
    assert 0.7 < sum(family in easy for family in held_out) / len(held_out) < 0.8
    asked = [question_of_task.family for question_of_task in _asked()]
    assert {family: asked.count(family) > 30 for family in easy} == dict.fromkeys(easy, True)


@pytest.mark.parametrize(
    ("instruction", "response", "right"),
    [
        ("What is 12 plus 30?", " The sum is 42.", True),
        ("What is 12 plus 30?", " The sum is 142.", False),
        ("What is 12 plus 30?", " 42 is not what I say, 43.", False),
        ("Sort from small to large: 40, 10, 30, 20.", " In order: 10, 20, 30, 40.", True),
        ("Sort from small to large: 40, 10, 30, 20.", " In order: 5, 10, 20, 30, 40.", False),
        ("Which day comes 8 days after Monday?", " It is a Tuesday", True),
        ("Please repeat the word garden for me.", " Sure! it is garden.", True),
        ("Please repeat the word garden for me.", " garden it is", False),
        ("Now write garden in capitals at once.", " In capitals: garden.", False),
        ("Next add 7 and 8 below.", " Quick one: I get 15.", True),
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
