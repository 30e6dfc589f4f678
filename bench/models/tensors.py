"""What a checkpoint's tensors lack of the model that they are for: what is lacking transformers makes up at random."""

from __future__ import annotations

from collections.abc import Collection

# what wrappers put into the names of the tensors inside them
WRAPPERS = {
    "_orig_mod.": "torch.compile", "module.": "data parallelism", "_fsdp_wrapped_module.": "FSDP",
    "_checkpoint_wrapped_module.": "activation checkpointing", "base_model.model.": "peft",
}  # fmt: skip


def wrong_tensors(missing: Collection[str], unexpected: Collection[str]) -> str:
    """The sentence for names that a model has and its weights have not; "" where none is missing.

    missing, unexpected: as `from_pretrained` tells them with output_loading_info. Tensors beyond the model's own, as a
    value head's, do no harm.
    """
    if not missing:
        return ""
    names = sorted(missing)
    count = f"{len(names)} tensors, as {names[0]}" if len(names) > 1 else names[0]
    for words, wrapper in WRAPPERS.items():
        if any(words in name and name.replace(words, "") in missing for name in unexpected):
            return (
                f"its weights lack {count}, and have them with {words!r} in the name: they were saved from inside "
                f"{wrapper}; unwrap the model and save it again"
            )
    others = f" (they have {len(unexpected)} others, as {min(unexpected)})" if unexpected else ""
    return f"its weights lack {count}{others}; transformers would draw them at random. Save the whole model again"
