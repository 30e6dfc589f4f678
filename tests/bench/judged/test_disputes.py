"""Which prompts are shown first, from hand-made answers and verdicts."""

from types import SimpleNamespace

import pandas

from gatebench.bench.judged.disputes import AnsweredCell, most_disputed
from gatebench.bench.stages.generate import ANSWERS_FILE
from gatebench.bench.stages.judge import VERDICTS_FILE


class Stages:
    def __init__(self, folder):
        self.folder = folder

    def add(self, kind, key, file, **columns):
        self.path(kind, key).mkdir(parents=True)
        pandas.DataFrame(columns).to_parquet(self.path(kind, key) / file)
        return key

    def path(self, kind, key):
        return self.folder / kind / key

    def is_finished(self, kind, key):
        return self.path(kind, key).exists()

    def check(self, kind, key):
        assert self.is_finished(kind, key)


def answered(stages, name, log_probs, wins=None):
    own = stages.add("generate", name, ANSWERS_FILE, prompt=range(4), log_prob=log_probs, tokens=1)
    verdicts = wins and stages.add("judge", name, VERDICTS_FILE, prompt=range(4), opponent="warmup", first=wins,
                                   second=wins)  # fmt: skip
    return AnsweredCell(SimpleNamespace(id=name), own, verdicts)


def test_judge_and_log_probs_take_turns_and_what_is_alike_comes_last(tmp_path):
    stages = Stages(tmp_path)
    cells = [
        answered(stages, "one", [-2.0, -2.0, -2.0, -2.0], [1.0, 1.0, 0.5, 0.0]),
        answered(stages, "other", [-2.0, -2.5, -6.0, -2.0], [0.5, 0.0, 0.5, 0.0]),
    ]
    found = most_disputed(cells, stages, 10)
    assert [dispute.number for dispute in found] == [1, 2, 0, 3]
    assert found[0].why == "The judge: 0 to 1 wins v. warm-up over 2 cells."
    assert found[1].why == "Log-probs of the answers: -3.00 to -1.00 nats a token over 2 cells."
    assert found[3].why == ""
    assert [dispute.number for dispute in most_disputed(cells, stages, 1)] == [1]


def test_one_cell_has_its_prompts_in_their_order(tmp_path):
    stages = Stages(tmp_path)
    assert [d.number for d in most_disputed([answered(stages, "one", [-1.0, -2.0, -3.0, -4.0])], stages, 3)] == [
        0,
        1,
        2,
    ]
    assert most_disputed([], stages, 3) == []


def test_several_samples_are_one_value_of_their_cell(tmp_path):
    stages = Stages(tmp_path)
    cells = []
    for name, log_probs in (("one", [-1.0, -9.0, -2.0, -2.0]), ("other", [-9.0, -1.0, -4.0, -4.0])):
        key = stages.add("generate", name, ANSWERS_FILE, prompt=[0, 0, 1, 1], sample=[0, 1] * 2, log_prob=log_probs,
                         tokens=1)  # fmt: skip
        cells.append(AnsweredCell(SimpleNamespace(id=name), key))
    first, second = most_disputed(cells, stages, 10)
    assert (first.number, second.number) == (1, 0)
    assert first.why == "Log-probs of the answers: -2.00 to -1.00 nats a token over 2 cells."
    assert second.why == ""  # what differs within a cell is no dispute between cells
