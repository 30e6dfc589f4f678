"""Where in the chosen response its log-prob changes: measured as it trains and from saved weights, alike."""

import pandas
import pytest
import torch

from gatebench.bench.data.adapters import load
from gatebench.bench.data.pairs import NEAR_MISS
from gatebench.bench.metrics.dynamics import PLACES
from gatebench.bench.models.encoding import EncodedProbe
from gatebench.bench.stages.probing import PROBES, by_place, shared
from gatebench.objectives.layout.scoring import Scored
from tests.helpers import GATED_DPO, plan_of, run_stage

SUITE = GATED_DPO.replace("probes: 6", "probes: 6, profile: true")


def test_places_by_hand():
    lengths = [18, 1, 5]
    response = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))
    logits = torch.zeros(sum(lengths), 4)  # every token has log 1/4
    scored = Scored([(i, 0) for i in range(3)], response, torch.zeros(sum(lengths), dtype=torch.long), logits)
    found = {
        name: (values / -torch.log(torch.tensor(4.0))).round().tolist() for name, values in by_place(scored).items()
    }
    assert found == {
        "at_1": [1, 1, 1], "at_2_4": [3, 0, 3], "at_5_8": [4, 0, 1], "at_9_16": [8, 0, 0], "at_17": [2, 0, 0],
    }  # fmt: skip


def test_shared_tokens_by_hand():
    sides = [([5, 6, 7], [5, 6, 8, 9]), ([5, 6], [7]), ([5, 6], [5, 6])]
    probes = [EncodedProbe([1], {"chosen": chosen, "rejected": rejected}) for chosen, rejected in sides]
    probes.append(EncodedProbe([1], {"chosen": [5, 6, 7], "rejected": [5, 6, 8]}, {"chosen": [False, True, True]}))
    counted = [3, 2, 2, 2]  # of the last one's three tokens two are learned
    response = torch.repeat_interleave(torch.arange(4), torch.tensor(counted))
    targets = torch.zeros(sum(counted), dtype=torch.long)
    scored = Scored([(i, 0) for i in range(4)], response, targets, torch.zeros(sum(counted), 4))
    found = shared(scored, probes) / -torch.log(torch.tensor(4.0))
    torch.testing.assert_close(found, torch.tensor([2.0, torch.nan, 2.0, 1.0]), equal_nan=True, check_dtype=False)


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["final", "all"])
def test_the_places_of_a_response_sum_to_it(tmp_path, keep):
    plan = plan_of(tmp_path, SUITE, **{"train.keep": keep})
    for node in plan.nodes.values():
        run_stage(node, tmp_path, tmp_path / node.key)
    (cell,) = plan.cells
    frame = pandas.read_parquet(tmp_path / cell.stages["dynamics"] / PROBES)
    chosen = frame[frame["kind"] == "chosen"]
    torch.testing.assert_close(
        torch.tensor(chosen[list(PLACES)].sum(axis=1).to_numpy()), torch.tensor(chosen["log_prob"].to_numpy())
    )
    assert frame[frame["kind"] != "chosen"][list(PLACES)].isna().all().all()
    assert set(frame["step"]) == {0, 2, 4}
    near = [probe.pair == NEAR_MISS for probe in load(plan.nodes[cell.stages["dynamics"]].spec.data).probes["train"]]
    parted = chosen[chosen["split"] == "train"].set_index(["step", "prompt"])["shared"]
    assert [parted[0, prompt] == parted[0, prompt] for prompt in range(6)] == near  # nan where they share no opening


def test_it_moves_no_key_of_a_suite_that_does_not_ask_for_it(tmp_path):
    before, after = plan_of(tmp_path, GATED_DPO), plan_of(tmp_path, SUITE)
    shared = {node.kind for key, node in before.nodes.items() if key in after.nodes}
    assert shared == {"base", "warmup", "reference"}
    assert plan_of(tmp_path, GATED_DPO.replace("probes: 6", "probes: 6, profile: false")).nodes.keys() == (
        before.nodes.keys()
    )
