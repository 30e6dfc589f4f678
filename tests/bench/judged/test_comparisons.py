"""Judged comparisons as they are handed on, from hand-made stages."""

from types import SimpleNamespace

from gatebench.bench.judged.comparisons import finished_comparisons
from gatebench.bench.judged.exports import write_judged
from gatebench.bench.plan.graph import Cell, Plan
from gatebench.bench.stages.generate import ANSWERS_FILE
from gatebench.bench.stages.judge import VERDICTS_FILE
from tests.bench.judged.test_disputes import Stages


class Judged(Stages):
    def inputs(self, kind, key):
        return {"own": self.path("generate", f"own {key}"), "warmup": self.path("generate", f"start {key}")}


def test_cells_of_several_seeds_are_judged_against_the_warm_up_of_their_own(tmp_path):
    stages, cells, nodes = Judged(tmp_path), [], {}
    for seed in (0, 1):
        key = f"judge {seed}"
        for who in ("own", "start"):
            stages.add("generate", f"{who} {key}", ANSWERS_FILE, prompt=[0], text=["p"], response=[f"{who} {seed}"])
        stages.add("judge", key, VERDICTS_FILE, prompt=[0], opponent=["warmup"], first=[1.0], second=[1.0])
        cells.append(Cell(f"m/{seed}", "m", "toolbox", "dpo", "dpo", "sft", "none", seed, {"judge": key}, False))
        nodes[key] = SimpleNamespace(spec=SimpleNamespace(kind="exact", model=""))
    found = list(finished_comparisons(Plan("mine", tuple(cells), nodes), stages))
    assert [one.name for one in found] == ["m/toolbox/sft warm-up, seed 0", "m/toolbox/sft warm-up, seed 1"]
    assert [one.rows["opponent_response"].tolist() for one in found] == [["start 0"], ["start 1"]]
    folders = [place for place in write_judged(found, "mine", tmp_path / "out") if "arena_hard" in place.parts]
    assert len(folders) == 2  # a benchmark of Arena-Hard has one baseline
