"""Which model a cell trains, resolved: a hub id, a local folder or a built-in of the ladder."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gatebench.bench.data.source import CHANGED, HUB, digest_of_files, file_digest, files_of
from gatebench.bench.errors import UserError
from gatebench.bench.models import ladder

BUILTIN = "builtin:"
FLOAT32, NF4 = "float32", "nf4"
Strategy = Literal["ddp", "fsdp"]
NEVER_LOADED = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".ot", ".onnx", ".gguf", ".tflite", ".mlmodel")
CONVERTER = 1  # of GGUF files; raised whenever the same file becomes another folder
LOADED_FOLDERS = ("additional_chat_templates",)


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter: rank, scale and dropout as in peft.

    targets: names of the modules that it is on, all linear layers of the backbone by default; bits: of the frozen
    weights under it, 4 for QLoRA's NF4 (Dettmers et al. 2023).
    """

    kind: Literal["lora"] = "lora"
    r: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: tuple[str, ...] | Literal["all-linear"] = field(default="all-linear", metadata={"key": "given"})
    bits: Literal[4] | None = field(default=None, metadata={"key": "given"})

    def __post_init__(self) -> None:
        if not all(self.targets) or not self.targets:
            raise ValueError("targets names no module; write all-linear, or names such as [q_proj, v_proj]")
        for name, value in (("r", self.r), ("alpha", self.alpha)):
            if value < 1:
                raise ValueError(f"{name} {value} makes no adapter; write 1 or more")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout:g} is no share; write one in [0, 1)")


@dataclass(frozen=True)
class Spread:
    """The devices that each training of a model is shared out over, a process each: by ddp every one holds the whole
    model, by fsdp (FSDP2) a part of every weight. Sums over devices round otherwise, so it is in a training's key."""

    devices: int
    strategy: Strategy = "ddp"


@dataclass(frozen=True)
class ModelSource:
    """content stands for the weights in stage keys; the path does not. dtype: the type that training computes in;
    attention: transformers' name of how it computes attention, "" for what it advises; context: the most tokens that
    the model reads, None where it has no limit or, on the hub, is not known yet; parts: of a GGUF file, where its bytes
    lie (gguf/parts.py), empty for any other model; spread: None for trainings on one device."""

    content: str
    dtype: Literal["float32", "bfloat16"] = "float32"
    adapter: Adapter | None = None
    path: str = field(default="", metadata={"key": False})
    revision: str | None = field(default=None, metadata={"key": False})
    context: int | None = field(default=None, metadata={"key": False})
    parts: tuple[str, ...] = field(default=(), metadata={"key": False})
    attention: str = field(default="", metadata={"key": "given"})
    spread: Spread | None = field(default=None, metadata={"key": "given"})

    @property
    def as_base(self) -> ModelSource:
        """What is the same however the model is trained: its files, which all adapters on it share."""
        return replace(self, adapter=None, attention="", spread=None)

    @property
    def weights(self) -> str:
        """The type that training holds the weights in, for a stage's key: "" where nothing but float32 is meant, NF4
        for those in four bits.

        Weights that are trained are float32 and computed with in bfloat16 (autocast): at the learning rates of
        preference training an update is less than half of what bfloat16 can tell apart, and rounds away. Those that
        lie frozen under an adapter, which is float32 itself, are bfloat16.
        """
        if self.dtype == FLOAT32:
            return ""  # which weights of four bits, computed with in bfloat16, never are
        if self.adapter and self.adapter.bits:
            return NF4
        return self.dtype if self.adapter else FLOAT32

    @property
    def is_on_hub(self) -> bool:
        """Whether it comes by a name of the hub's."""
        return self.content.startswith(HUB)

    @property
    def is_builtin(self) -> bool:
        return self.path.startswith(BUILTIN)


def model_content_of(path: str, revision: str | None) -> str:
    """A digest of what the weights are: a ladder entry, the files of a folder, or hub name and revision."""
    if path.startswith(BUILTIN):
        return f"{path}@{ladder.shape_version(path)}"
    if Path(path).is_dir():
        return file_digest(path)
    return f"{HUB}{path}@{revision or 'main'}"


def gguf_content(sha256: str) -> str:
    """What a GGUF file's weights are: its bytes, and how they are converted."""
    return f"gguf:{sha256}@{CONVERTER}"


def check_model(path: str, revision: str | None, content: str) -> None:
    """Raise UserError where a model's folder is not what its content stands for."""
    if model_content_of(path, revision) != content:
        raise UserError(f"{path}: {CHANGED}")


def link_model(source: ModelSource, out: Path) -> None:
    """Have a local model's files in another folder: linked where the file system can, else copied; those of formats
    that are never loaded are left where they are. Raises UserError where they are not what the content stands for."""
    root, files = Path(source.path), dict[str, Path]()
    out.mkdir()
    for file in files_of(root):
        name = file.relative_to(root)
        files[str(name)] = file
        if file.suffix not in NEVER_LOADED and (len(name.parts) == 1 or name.parts[0] in LOADED_FOLDERS):
            files[str(name)] = _linked(file, out / name)
    if digest_of_files(files) != source.content:
        raise UserError(f"{source.path}: {CHANGED}")


def _linked(file: Path, target: Path) -> Path:
    target.parent.mkdir(exist_ok=True)
    try:
        os.link(os.path.realpath(file), target)
    except OSError:  # another file system, or one that has no links
        shutil.copyfile(file, target)
    return target
