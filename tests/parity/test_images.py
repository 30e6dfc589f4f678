"""A model that reads images: gated with what it sees, and TRL's bit for bit without a gate."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    set_seed,
)
from trl import DPOConfig, DPOTrainer

from gatebench.objectives import gates
from gatebench.objectives.trl import GatedDPOConfig, GatedDPOTrainer
from gatebench.objectives.trl.scores import NOT_THE_MODELS
from tests.parity.processes import SETTINGS
from tests.parity.test_trainer import assert_same_bits

SIDE, PATCH = 16, 8
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def seeing(tokenizer, tmp_path_factory):
    """A saved tiny LLaVA and its processor."""
    folder = tmp_path_factory.mktemp("models") / "llava"
    words = type(tokenizer).from_pretrained(_saved(tokenizer, tmp_path_factory))
    words.add_special_tokens({"additional_special_tokens": ["<image>"]})
    text = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.3,
    )  # fmt: skip
    sight = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE,
        patch_size=PATCH, initializer_range=0.3,
    )  # fmt: skip
    image = words.convert_tokens_to_ids("<image>")
    set_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(text_config=text, vision_config=sight, image_token_index=image, image_token_id=image)
    )
    model.save_pretrained(folder)
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"height": SIDE, "width": SIDE}, crop_size={"height": SIDE, "width": SIDE}
        ),
        tokenizer=words, patch_size=PATCH, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def _saved(tokenizer, factory):
    folder = factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def make(seeing, preference_rows, tmp_path):
    draw = np.random.default_rng(0)
    rows = [
        {
            "images": [Image.fromarray(draw.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8))],
            "prompt": [{"role": "user", "content": row["prompt"]}],
            **{side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")},
        }
        for row in preference_rows[:8]
    ]

    def made(config=GatedDPOConfig, **arguments):
        return (DPOTrainer if config is DPOConfig else GatedDPOTrainer)(
            model=LlavaForConditionalGeneration.from_pretrained(seeing),
            args=config(
                str(tmp_path), per_device_train_batch_size=4,
                **{**SETTINGS, "max_length": None, "max_steps": 2, **arguments},
            ),
            train_dataset=Dataset.from_list(rows), processing_class=LlavaProcessor.from_pretrained(seeing),
        )  # fmt: skip

    return made


@pytest.mark.parametrize("gate", [{}, {"gate": "seq", "gate_alpha": 1e30, "gate_tau": 0.0}], ids=["none", "open"])
def test_weights_are_trls_bit_for_bit(make, gate):
    ours, theirs = make(**gate), make(DPOConfig)
    for trainer in (ours, theirs):
        trainer.train()
    assert_same_bits(ours, theirs)


def test_the_threshold_is_measured_with_the_images(make):
    trainer = make(gate="seq", gate_tau="q30")
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(8)])
    assert "pixel_values" in batch

    def p(batch):
        labels, mask = batch["input_ids"][:, 1:], batch["completion_mask"][:, 1:]
        given = {name: value for name, value in batch.items() if name not in NOT_THE_MODELS}
        with torch.no_grad():
            logits = trainer.model.eval()(**given).logits[:, :-1]
        log_probs = logits.log_softmax(dim=-1).gather(2, labels[..., None]).squeeze(2)
        return gates.sequence_probability(log_probs.chunk(2)[1], mask.chunk(2)[1])

    seen = torch.quantile(p(batch), 0.3).item()
    unseen = torch.quantile(p({**batch, "pixel_values": torch.zeros_like(batch["pixel_values"])}), 0.3).item()
    trainer.train()
    assert trainer.gate.tau == pytest.approx(seen, rel=1e-4)
    assert abs(unseen - seen) > 1e-2 * seen


def test_a_layout_leaves_it_to_two_rows(make):
    assert "LlavaForConditionalGeneration reads images" in make(layout="one_row").layout_caution
