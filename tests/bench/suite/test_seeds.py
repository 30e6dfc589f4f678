"""Seeds vary what people vary: the order of training and the warm-up by default, each thing by itself where asked."""

import pytest

from gatebench.bench.data.adapters import load
from gatebench.bench.errors import UserError
from gatebench.bench.suite.reader import load_suite
from gatebench.bench.suite.seeds import Drawn, Seeds, repetitions, varied
from tests.helpers import DPO, GOOD, plan_of, write

KINDS = ("base", "warmup", "reference", "train")


def keys_by_kind(folder, seeds):
    plan = plan_of(folder, DPO.replace("seeds: [0]", f"seeds: {seeds}"))
    own = [cell for cell in plan.cells if not cell.gated]
    return plan, [len({cell.stages[kind] for cell in own}) for kind in KINDS]


@pytest.mark.parametrize(
    ("seeds", "counts", "told"),
    [
        ("[0, 1, 2]", [1, 3, 3, 3],
         "seeds vary the order of training and the warm-up; the base model and the training pairs are the same in all"),
        ("{train: [0, 1, 2]}", [1, 1, 1, 3],
         "seeds vary the order of training; the warm-up, the base model and the training pairs are the same in all"),
        ("{warmup: [0, 1]}", [1, 2, 2, 2], None),
        ("{base: [3, 4]}", [2, 2, 2, 2], None),
        ("{data: [0, 7]}", [1, 2, 2, 2], None),
        ("{train: [0, 1], warmup: [0, 1], base: [0, 1], data: [0, 1]}", [2, 2, 2, 2],
         "seeds vary the order of training, the warm-up, the base model and the training pairs"),
        ("[5]", [1, 1, 1, 1], ""),
    ],
)  # fmt: skip
def test_what_a_seed_varies_is_made_again_and_the_rest_is_shared(tmp_path, seeds, counts, told):
    plan, found = keys_by_kind(tmp_path, seeds)
    assert found == counts
    assert told in (None, plan.varied)


def test_a_list_is_the_order_of_training_and_the_warm_up():
    assert repetitions([4, 9]) == {4: Drawn(4, 4), 9: Drawn(9, 9)}
    assert repetitions(Seeds(train=[4, 9], base=[1])) == {0: Drawn(4, 0, 1), 1: Drawn(9, 0, 1)}
    assert varied([Drawn()]) == ""


@pytest.mark.parametrize(
    ("seeds", "sentence"),
    [
        ("{train: [0, 1], warmup: [0, 1, 2]}", "suite.yaml:{line}: seeds: the lists have one seed for all repetitions, "
         "or one for each; these differ: train 2, warmup 3"),
        ("{train: [1, 1]}", "seeds: two repetitions have the same seeds, so that they would be one"),
        ("{trian: [0]}", "seeds.trian: unknown key; did you mean 'train'?"),
        ("{train: []}", "seeds.train: List should have at least 1 item"),
        ("[-1]", "seeds.0: Input should be greater than or equal to 0 (got -1)"),
        ("3", "seeds: Input should be a valid list (got 3)"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(tmp_path, seeds, sentence):
    file = write(tmp_path, GOOD.replace("seeds: [0]", f"seeds: {seeds}"))
    with pytest.raises(UserError) as caught:
        load_suite(file)
    line = file.read_text().splitlines().index(f"seeds: {seeds}") + 1
    assert sentence.replace("{line}", str(line)) in str(caught.value)


def rows_of(folder, data, train=16):
    """The training pairs of the cells' own trainings, by repetition."""
    text = DPO.replace("{name: toolbox, path: builtin:toolbox, train: 24", f"{{path: {data}, train: {train}")
    plan = plan_of(folder, text.replace("seeds: [0]", "seeds: {data: [0, 1, 2]}"))
    sources = [plan.nodes[cell.stages["train"]].spec.followed for cell in plan.cells if not cell.gated]
    return [load(source) for source in sources]


def pairs_file(folder, count):
    lines = [f'{{"prompt": "p{i}", "chosen": "good {i}", "rejected": "bad {i}"}}\n' for i in range(count)]
    return write(folder, "".join(lines), "pairs.jsonl")


def test_other_pairs_are_drawn_and_what_is_measured_stays(tmp_path):
    first, second, third = rows_of(tmp_path, pairs_file(tmp_path, 60))
    probed = len(first.probes["train"])
    assert first.train[:probed] == second.train[:probed] == third.train[:probed]
    assert len({first.train, second.train, third.train}) == 3
    assert len(first.train) == len(second.train) == len(set(second.train)) == 16
    assert first.test == second.test == third.test
    assert first.probes["test"][0].prompt == second.probes["test"][0].prompt
    assert not {pair.prompt for pair in second.train} & {pair.prompt for pair in second.test}


def test_pairs_cannot_be_drawn_where_there_are_no_others(tmp_path):
    with pytest.raises(UserError, match=r"seeds.data draws the training rows, and there are no others than the 16"):
        rows_of(tmp_path, pairs_file(tmp_path, 24))
    with pytest.raises(UserError, match=r"seeds.data draws the training rows that are not probed, and all 6 are"):
        rows_of(tmp_path, pairs_file(tmp_path, 24), 6)


def test_the_toolbox_makes_others(tmp_path):
    one, two, _ = rows_of(tmp_path, "builtin:toolbox")
    assert one.train[: len(one.probes["train"])] == two.train[: len(one.probes["train"])]
    assert one.train != two.train
    assert one.test == two.test
    assert not {pair.prompt for pair in two.train} & {pair.prompt for pair in two.test}


def test_a_few_steps_to_be_timed_draw_nothing(tmp_path):
    plan = plan_of(tmp_path, DPO.replace("seeds: [0]", "seeds: {data: [0, 7]}"))
    drawn = [source for node in plan.nodes.values() if (source := getattr(node.spec, "data", None)) and source.draw]
    assert drawn
    assert all(load(source.shortened(1)).train for source in drawn)
