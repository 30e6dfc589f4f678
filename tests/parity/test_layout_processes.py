"""Fast layouts on two processes: one model, that of one process and of TRL's two rows."""

import pytest
import torch

from tests.parity.processes import trained_on

SEQ = {"gate": "seq", "gate_alpha": "5/tau", "gate_tau": "q50"}
TRAININGS = {
    "one_row": {"layout": "one_row"},
    "packed, gated": {"layout": "packed", **SEQ},
    "one_row, checkpointing, accumulation": {
        "layout": "one_row", "gradient_checkpointing": True, "gradient_accumulation_steps": 2,
    },
    "one_row, adapter, control": {
        "layout": "one_row", "lora": True, **SEQ, "gate": "shuffled", "gate_of": "token",
    },
    "one_row, bf16": {"layout": "one_row", "bf16": True},
    # the end of each text is kept, so that where chosen and rejected differ in length their prompts do
    "one_row, some uneven": {"layout": "one_row", "max_length": 45, "truncation_mode": "keep_end"},
}  # fmt: skip


@pytest.fixture(scope="module")
def rows(preference_rows):
    longer = " It is so, and it is so for more than one reason: there are a dozen."
    return [
        {**row, "chosen": row["chosen"] + longer if place % 3 == 0 else row["chosen"]}
        for place, row in enumerate(preference_rows)
    ]


@pytest.mark.slow
def test_two_processes_train_one_model(model_paths, rows, tmp_path):
    def run(processes, micro, **more):
        given = {name: {**own, "per_device_train_batch_size": micro, **more} for name, own in TRAININGS.items()}
        return trained_on(processes, model_paths["llama"], rows, given, tmp_path / f"{processes}{more}")

    two, one, plain = run(2, 1), run(1, 2), run(2, 1, layout="trl")
    for name in TRAININGS:
        first, second = two[name]
        assert first["caution"] is None
        assert first["wrapped"] == "DistributedDataParallel"
        close = {"atol": 1e-4 if "bf16" in name else 2e-6, "rtol": 0}
        for part, weight in first["weights"].items():
            assert torch.equal(weight, second["weights"][part])
            torch.testing.assert_close(weight, plain[name][0]["weights"][part], **close)
            torch.testing.assert_close(weight, one[name][0]["weights"][part], **close)
        fell = [found["fallen_back"] for found in two[name]]
        if "uneven" in name:
            assert fell[0] != fell[1]
        else:
            assert fell[0]
            assert not any(map(any, fell))


SHARDED = {
    "loaded": {"shared_out": "when it is loaded", "squeezing": True, **SEQ},
    "loaded, one_row": {"shared_out": "when it is loaded", "layout": "one_row", **SEQ},
    "one_row": {"shared_out": "when the training begins", "layout": "one_row", **SEQ},
    "packed": {
        "shared_out": "when the training begins",
        "layout": "packed",
        **SEQ,
        "gate": "shuffled",
        "gate_of": "seq",
    },
    "uneven": {"shared_out": "when the training begins", **SEQ, **TRAININGS["one_row, some uneven"]},
}


@pytest.mark.slow
def test_parameters_that_are_shared_out(model_paths, rows, tmp_path):
    """FSDP2 over gloo: thresholds, weights and controls are those of whole models."""

    ours = {name: {**own, "per_device_train_batch_size": 2} for name, own in SHARDED.items()}
    plain = {name: {**own, "shared_out": None, "layout": "trl"} for name, own in ours.items()}
    found = trained_on(2, model_paths["llama"], rows, ours, tmp_path / "sharded")
    expected = trained_on(2, model_paths["llama"], rows, plain, tmp_path / "whole")
    for name in ours:
        first, second = found[name]
        assert first["wrapped"].startswith("FSDP")
        assert first["gate"] == second["gate"] == pytest.approx(expected[name][0]["gate"], rel=1e-5)
        for part, weight in first["weights"].items():
            torch.testing.assert_close(weight, expected[name][0]["weights"][part], atol=2e-6, rtol=0)
        fell = [own["fallen_back"] for own in (first, second)]
        if name == "loaded, one_row":
            assert "was loaded in parts on several processes" in first["caution"] == second["caution"]
        elif name == "uneven":
            assert fell[0] != fell[1]
        elif "loaded" not in name:
            assert fell[0]
            assert not any(map(any, fell))
