"""Hours and memory on hardware that is not here, by hand; what does not fit says what would make it fit."""

import json

import pytest

from gatebench.bench.cost.amounts import work_of
from gatebench.bench.cost.estimate import estimate_cost
from gatebench.bench.cost.hardware import LOADING, START, UTILISATION, hardware_of, too_large
from gatebench.bench.errors import UserError
from tests.helpers import DPO, bench, plan_of, write

HUB = DPO.replace("builtin:ladder/neox-0.3m", "{path: huggyllama/llama-7b, dtype: bfloat16}").replace(
    "max_length: 64", "max_length: 512"
)
LORA = HUB.replace("bfloat16}", "bfloat16, adapter: {kind: lora}}")


@pytest.mark.parametrize(
    ("text", "count", "gigabytes"), [("h100", 1, 80), ("8xA100-80GB", 8, 80), ("4 x rtx4090", 4, 24)]
)
def test_devices_are_known_by_name_and_number(text, count, gigabytes):
    found = hardware_of(text)
    assert (found.count, found.device.memory) == (count, gigabytes * 2**30)
    assert found.machine.workers == count


@pytest.mark.parametrize(
    ("text", "hint"), [("h10", "'h100'"), ("0xh100", "expected a device"), ("8xa100", "a100-40gb or a100-80gb")]
)
def test_an_unknown_device_names_the_nearest(text, hint):
    with pytest.raises(UserError, match=hint):
        hardware_of(text)


def test_the_seconds_of_a_training_by_hand(tmp_path):
    plan, h100 = plan_of(tmp_path, LORA), hardware_of("h100")
    node = next(node for node in plan.nodes.values() if node.kind == "train")
    work = work_of(node, plan.nodes)
    found = h100.seconds(work, 1e18, 1e15)
    n = work.size.parameters
    by_hand = START + 2 * n / LOADING + (1e18 / 989e12 + 1e15 / 67e12) / UTILISATION
    assert found == pytest.approx(by_hand)


def test_answers_are_bound_by_the_bandwidth(tmp_path):
    text = LORA.replace("evaluate:", "evaluate:\n  generate: {backend: transformers, prompts: 64, max_tokens: 100}")
    plan = plan_of(tmp_path, text)
    work = next(work_of(node, plan.nodes) for node in plan.nodes.values() if node.kind == "generate")
    fast, slow = (hardware_of(name).seconds(work, 0, 0) for name in ("h200", "h100"))
    read = 4 * 100 * 2 * work.size.parameters  # four batches of 16
    assert slow - fast == pytest.approx(read / 0.6 * (1 / 3350e9 - 1 / 4800e9))


def test_two_devices_take_about_half_the_time(tmp_path):
    plan = plan_of(tmp_path, LORA.replace("seeds: [0]", "seeds: [0, 1]"))
    one, two = (estimate_cost(plan, set(), [], found.machine, found) for found in map(hardware_of, ("h100", "2xh100")))
    assert two.in_all.seconds == one.in_all.seconds
    assert one.wall == pytest.approx(one.in_all.seconds)
    assert two.wall < 0.8 * one.wall


def test_what_does_not_fit_says_by_stage_and_model_what_would(tmp_path):
    plan = plan_of(tmp_path, HUB)
    told = too_large(plan, set(), hardware_of("h100"))
    train = next(sentence for sentence in told if sentence.startswith("train of llama-7b needs about"))
    assert "it would fit with dtype: bfloat16 and adapter: {kind: lora}" in train
    assert too_large(plan_of(tmp_path, LORA), set(), hardware_of("h200")) == []
    done = set(plan.nodes)
    assert too_large(plan, done, hardware_of("h100")) == []


def test_the_command_line_prices_the_hours(tmp_path):
    suite = write(tmp_path, LORA)
    given = ("plan", suite, "--results", tmp_path, "--hardware", "2xh100", "--price", "3")
    found = json.loads(bench(*given, "--json").stdout)["estimate"]
    assert found["price"] == pytest.approx(found["wall"] / 3600 * 2 * 3)
    assert found["machine"]["name"] == "2 x h100"
    shown = bench(*given).stdout
    assert f"{found['price']:,.2f} at the price given" in shown
    wrong = bench("plan", suite, "--hardware", "h10")
    assert wrong.returncode != 0
    assert "did you mean 'h100'?" in wrong.stderr
