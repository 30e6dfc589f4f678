"""The geometry of pairs in a suite: measured once a warm-up, beside the other metrics of its probes."""

import pandas
import pytest
import torch
from transformers import AutoModelForCausalLM

from gatebench.bench.data.adapters import load
from gatebench.bench.metrics.geometry import share_edited
from gatebench.bench.models.encoding import Encoder
from gatebench.bench.models.loading import load_tokenizer
from gatebench.bench.stages.geometry import GEOMETRY_FILE, PAIRS
from gatebench.bench.stages.registry import stage_of
from tests.helpers import DPO, plan_of, run_stage

SUITE = DPO.replace("evaluate:", "evaluate:\n  geometry: true")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished geometry stage: node, folder, and the folder of all stages."""
    folder = tmp_path_factory.mktemp("stages")
    plan = plan_of(folder, SUITE)
    (node,) = [node for node in plan.nodes.values() if node.kind == "geometry"]
    facts = {}
    for other in plan.nodes.values():
        if other.kind in ("base", "warmup", "geometry"):
            facts[other.kind] = run_stage(other, folder, folder / other.key)
    return node, folder, facts["geometry"]


def test_it_moves_no_key_of_a_suite_without_it(tmp_path):
    before, after = plan_of(tmp_path, DPO), plan_of(tmp_path, SUITE)
    (geometry,) = {key for key, node in after.nodes.items() if node.kind == "geometry"}
    assert set(after.nodes) - set(before.nodes) == {geometry}
    assert {cell.stages["geometry"] for cell in after.cells} == {geometry}  # both cells share it


def test_every_pair_and_probe_has_its_geometry(made):
    node, folder, facts = made
    frame = pandas.read_parquet(folder / node.key / GEOMETRY_FILE)
    assert facts["pairs"] == 24
    assert frame["split"].value_counts().to_dict() == {PAIRS: 24, "train": 6, "test": 6}
    assert frame.drop(columns="near_miss").notna().all().all()
    assert frame.loc[frame["split"] != PAIRS, "near_miss"].notna().all()  # the kind is known of probes
    # the probes of training prompts are the first training pairs
    pairs = frame[frame["split"] == PAIRS].head(6).reset_index(drop=True)
    probes = frame[frame["split"] == "train"].reset_index(drop=True)
    pandas.testing.assert_frame_equal(
        pairs.drop(columns=["split", "near_miss"]), probes.drop(columns=["split", "near_miss"])
    )


def test_it_is_that_of_a_plain_model(made):
    """CHES from the hidden states that transformers hands out, of one response at a time, in float64."""
    node, folder, _ = made
    warm = folder / {role: key for role, _, key in node.inputs}["policy"]
    model = AutoModelForCausalLM.from_pretrained(warm / "model", dtype=torch.float64)
    encoder = Encoder(load_tokenizer(warm), node.spec.lengths)
    (pair, *_), _ = encoder.pairs(load(node.spec.data).train[:1])
    sums = []
    for response in (pair.chosen, pair.rejected):
        with torch.no_grad():
            states = model(torch.tensor([pair.prompt + response]), output_hidden_states=True).hidden_states[-1][0]
        sums.append(states[len(pair.prompt) - 1 : -1].sum(dim=0))
    row = pandas.read_parquet(folder / node.key / GEOMETRY_FILE).iloc[0]
    assert row["ches"] == pytest.approx(float(sums[0] @ sums[1] - sums[0] @ sums[0]), rel=1e-3, abs=1e-3)


def test_its_table_has_the_metrics_of_the_probes(made):
    node, folder, _ = made
    table = stage_of("geometry").by_prompt(folder / node.key, {})
    assert set(table["split"]) == {"train", "test"}
    assert set(table.columns) == {
        "split", "prompt", "edit_distance", "near_miss", "ches", "ches_normalised", "gradient_cosine",
        "gradient_norm_ratio",
    }  # fmt: skip


def test_near_misses_are_marked_and_lie_closer_than_pairs_worded_apart(made):
    node, folder, _ = made
    table = stage_of("geometry").by_prompt(folder / node.key, {})
    near, apart = (table.loc[table["near_miss"] == mark, "edit_distance"] for mark in (1.0, 0.0))
    assert 0 < len(near) < len(near) + len(apart) == len(table)
    assert near.max() < apart.min()


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        ([1, 2, 3], [1, 2, 3], 0),
        ([1, 2, 3], [1, 9, 3], 1 / 3),
        ([1, 2], [3, 4], 1),
        ([1, 2, 3, 4], [2, 3], 0.5),
        ([], [], 0),
    ],
)
def test_edit_distance_by_hand(first, second, share):
    assert share_edited(first, second) == share_edited(second, first) == share
