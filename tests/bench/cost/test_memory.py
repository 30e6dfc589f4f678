"""The memory of a stage, from its amount and the size of its model."""

from dataclasses import replace

from gatebench.bench.cost.memory import peak_memory
from gatebench.bench.models.dimensions import KNOWN
from gatebench.bench.models.source import Adapter, ModelSource, Spread
from gatebench.bench.stages.stage import ADAMW, FORWARD, SCORE_COPIES, SCORED_LOGITS, TRAINING, Amount

LLAMA, QWEN = (KNOWN[name].dimensions() for name in ("huggyllama/llama-7b", "Qwen/Qwen2.5-0.5B"))
WHOLE = ModelSource("m", path="m")
LORA = ModelSource("m", dtype="bfloat16", adapter=Adapter(r=16), path="m")
TRAINED = Amount(100, 1024, TRAINING, 1024, ADAMW, 1)


def test_a_whole_model_needs_its_gradients_and_moments_and_an_adapter_only_its_own():
    assert peak_memory(TRAINED, LLAMA, WHOLE) > 16 * LLAMA.parameters
    adapted = peak_memory(replace(TRAINED, held=2), LLAMA, LORA)
    assert 2 * LLAMA.parameters < adapted < 5 * LLAMA.parameters


def test_checkpointing_keeps_one_layer_of_all():
    held = replace(TRAINED, held=2)
    saved = peak_memory(held, LLAMA, LORA) - peak_memory(replace(held, checkpointing=True), LLAMA, LORA)
    assert saved > 5e9


def test_logits_are_counted_with_their_copies_up_to_what_is_scored_at_once():
    scored = Amount(100, 1024, FORWARD, 1024, 0, 0, logits=8192, copies=SCORE_COPIES)
    without = peak_memory(replace(scored, copies=0), QWEN, WHOLE)
    assert peak_memory(scored, QWEN, WHOLE) - without == SCORE_COPIES * 4 * SCORED_LOGITS


def test_the_bounds_of_scoring_are_those_it_has():
    from gatebench.bench.stages.stage import SCORED_POSITIONS
    from gatebench.objectives.layout import scoring

    assert (SCORED_POSITIONS, SCORED_LOGITS) == (scoring.POSITIONS_A_BATCH, scoring.LOGITS_A_BATCH)


def test_ddp_takes_more_of_each_device_and_fsdp_a_part():
    alone = peak_memory(TRAINED, LLAMA, WHOLE)
    ddp, fsdp = (replace(TRAINED, spread=Spread(4, strategy)) for strategy in ("ddp", "fsdp"))
    assert peak_memory(ddp, LLAMA, WHOLE) - alone == 4 * LLAMA.parameters  # the gradients, as they are exchanged
    assert alone / 4 < peak_memory(fsdp, LLAMA, WHOLE) < alone / 2
    followed = replace(fsdp, read=100.0)
    assert peak_memory(followed, LLAMA, WHOLE) > 2 * 4 * LLAMA.parameters  # the whole model beside the first policy
