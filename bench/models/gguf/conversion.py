"""A GGUF file made the folder of a Hugging Face model, once, and the result looked at before it is used.

Weights are dequantised to float32 by transformers' own reader; what the file's header tells of its tokenizer is put
back (tokenizer.py). A conversion that went wrong trains and measures as smoothly as a right one, so the folder is read
as every later stage reads it and asked for its loss of an English text.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gatebench.bench.data.source import CHANGED
from gatebench.bench.errors import StageFailed, UserError
from gatebench.bench.models.checks import examine
from gatebench.bench.models.gguf.header import Header, UnreadableGguf, header_of
from gatebench.bench.models.gguf.parts import opened
from gatebench.bench.models.gguf.tokenizer import tokenizer_of
from gatebench.bench.models.loading import load_policy, make_savable, tokenizer_at
from gatebench.bench.models.source import FLOAT32, ModelSource, gguf_content
from gatebench.bench.models.tensors import wrong_tensors

# Nats a token of TEXT. SmolLM2 135M has 2.47 and Gemma 3 270M 2.31; without its BOS Gemma has 3.92, without the spaces
# between words SmolLM2 has 3.82, and with the halves of its queries swapped they have 7.9 and 5.8
# (python -m tests.real_models.losses).
HIGHEST_LOSS = 3.5
FEWEST_PARAMETERS = 100_000_000  # of a model that has to know English that well
TEXT = """\
On 14 March 1987 a small ship left the harbour of Bergen with 27 people on board. The captain, a quiet woman of 52, \
had made the journey more than 300 times, and she knew every rock along the coast. In the morning the sea was calm. \
After lunch the wind began to blow from the north, and by 4 o'clock the waves were so high that nobody could stand \
on the deck. The passengers sat together in the warm cabin, drank tea, and told each other stories about their \
families.

"How long will it take?" asked a boy who was travelling with his grandmother.

"About 6 hours," the captain answered. "We shall be late, but we shall be safe."

She was right. At 10:30 in the evening they saw the lights of the town, and the boy, who had fallen asleep on a \
bench, was carried ashore by his uncle. The next day he wrote a letter to his parents. It was 2 pages long and began \
with the words: "Dear Mother and Father, I have been on the sea, and I was not afraid." They kept the letter for \
many years, and when he was a grown man with children of his own, they gave it back to him.
"""


@dataclass(frozen=True)
class Converted:
    """loss: of TEXT, in nats a token; caution: a sentence where that says nothing of the conversion, else None."""

    parameters: int
    loss: float
    caution: str | None = None


def convert(source: ModelSource, out: Path, report: Callable[[float, str], None]) -> Converted:
    """Write the model into the new folder `out`. Raises UserError where the file is not what it was planned with, and
    StageFailed where it cannot be converted, or not into a model that knows English."""
    file = out.parent / "model.gguf"
    try:
        report(0.0, "the model's file")
        _copy(source, file)
        header = header_of(str(file))
        report(0.1, "its weights")
        parameters = _save_weights(header, file, out)
        tokenizer_of(header).save_pretrained(out)
    except (UnreadableGguf, OSError) as error:
        raise StageFailed(f"{source.path}: {error}") from None
    finally:
        file.unlink(missing_ok=True)
    for written in out.iterdir():  # some of transformers' are for their owner alone
        written.chmod(0o666 & ~_umask())
    for sentence in examine(str(out)).wrong:
        raise StageFailed(f"{source.path}: the model that it was converted to is not sound: {sentence}")
    report(0.8, "its loss of an English text")
    return _judged(source.path, parameters, text_loss(out))


def _copy(source: ModelSource, file: Path) -> None:
    """All parts as one file, which is what the content stands for."""
    total = hashlib.sha256()
    try:
        with opened(source.parts) as read, file.open("wb") as written:
            while piece := read.read(2**20):
                total.update(piece)
                written.write(piece)
    except FileNotFoundError:
        raise UserError(f"{source.path}: {CHANGED}") from None
    if gguf_content(total.hexdigest()) != source.content:
        raise UserError(f"{source.path}: {CHANGED}")


def _save_weights(header: Header, file: Path, out: Path) -> int:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        model, loaded = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
        )
    except Exception as error:  # of whatever kind the library has for weights that do not fit their configuration
        raise UnreadableGguf(f"transformers cannot read it ({' '.join(str(error).split())[:200]})") from None
    if sentence := wrong_tensors(loaded["missing_keys"], loaded["unexpected_keys"]):
        raise UnreadableGguf(sentence)
    parameters: int = model.num_parameters()
    if parameters != header.parameters:
        raise UnreadableGguf(
            f"it has {header.parameters:,} weights, of which transformers reads {parameters:,}; it is not converted"
        )
    model.hf_quantizer.remove_quantization_config(model)
    model.config.name_or_path = ""  # the reader puts the file's title there
    make_savable(model)
    model.save_pretrained(out)
    return parameters


def text_loss(folder: Path, text: str = TEXT) -> float:
    """Mean negative log-likelihood of a text under a folder's model and tokenizer, in nats a token."""
    import torch

    tokenizer = tokenizer_at(str(folder))
    model = load_policy(folder.parent, FLOAT32, folder.name)
    ids = torch.tensor([tokenizer(text)["input_ids"]], device=model.device)
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1].double()
    return float(torch.nn.functional.cross_entropy(logits, ids[0, 1:]))


def _judged(path: str, parameters: int, loss: float) -> Converted:
    if parameters < FEWEST_PARAMETERS:
        return Converted(parameters, loss, (
            f"{path} has {parameters:,} parameters, too few for its loss of an English text ({loss:.2f} nats a token) "
            "to tell whether it was converted rightly"
        ))  # fmt: skip
    if not loss < HIGHEST_LOSS:
        raise StageFailed(
            f"{path}: its loss of an English text is {loss:.2f} nats a token once it is converted, and at most "
            f"{HIGHEST_LOSS:g} was expected: its tokenizer or its weights are not read rightly. Take the model in "
            "another form (safetensors)"
        )
    return Converted(parameters, loss)


def _umask() -> int:
    """The process's, which can only be read by setting it."""
    own = os.umask(0)
    os.umask(own)
    return own
