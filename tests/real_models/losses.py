"""What the loss of the shipped text tells of a conversion: `python -m tests.real_models.losses [smollm2] [gemma]`.

Nats a token of each model as it is converted, and as it would be by a conversion that loses something.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from gatebench.bench.models.gguf.conversion import convert, text_loss
from gatebench.bench.models.gguf.source import gguf_source
from gatebench.bench.models.loading import load_policy, tokenizer_at
from tests.helpers import no_report
from tests.needs import REAL_MODELS, WHEELS


def losses(model: str, folder: Path) -> dict[str, float]:
    """The loss by what is lost. folder: an empty one."""
    import torch
    from tokenizers import pre_tokenizers, processors

    source, wrong = gguf_source(REAL_MODELS[model], [WHEELS])
    assert not wrong, wrong
    out = folder / "model"
    found = {"nothing": convert(source, out, no_report).loss}
    own = (out / "tokenizer.json").read_bytes()
    for lost in ("the first token", "spaces"):
        tokenizer = tokenizer_at(str(out))
        backend = tokenizer.backend_tokenizer
        if lost == "spaces":
            words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
            backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(" ", "removed"), words])
        else:
            backend.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
        if (model == "gemma") == (lost == "the first token"):
            backend.save(str(out / "tokenizer.json"))
            found[lost] = text_loss(out)
            (out / "tokenizer.json").write_bytes(own)
    policy = load_policy(folder, "float32")
    with torch.no_grad():
        for layer in policy.model.layers:
            weight = layer.self_attn.q_proj.weight
            weight.copy_(weight.roll(len(weight) // 2, dims=0))
    policy.save_pretrained(out)
    return {**found, "the order of the queries": text_loss(out)}


def main() -> None:
    for name in sys.argv[1:] or REAL_MODELS:
        with tempfile.TemporaryDirectory() as folder:
            for lost, loss in losses(name, Path(folder)).items():
                print(f"{name:10}{lost:26}{loss:6.2f}")


if __name__ == "__main__":
    main()
