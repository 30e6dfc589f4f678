"""A finished cell as a folder that transformers' from_pretrained loads: weights, tokenizer, template, card."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gatebench.bench.errors import UserError
from gatebench.bench.export.card import model_card
from gatebench.bench.export.cell import FinishedCell
from gatebench.bench.models.loading import MODEL, load_policy, load_tokenizer
from gatebench.bench.models.source import FLOAT32
from gatebench.bench.store.files import write_json, write_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CARD_FILE, FACTS_FILE = "README.md", "gatebench.json"
ADAPTER = "adapter_config.json"
MERGED_WEIGHTS = (
    "The weights are float32, the adapter that was trained merged into those that were frozen under it, as the figures "
    "were measured."
)
AS_TRAINED = "The weights are those that the training left, byte for byte."


# what is told; the rest may name places of the machine
OF_A_MANIFEST = ("key", "version", "spec", "inputs", "libraries", "code", "seconds", "tokens")


def facts_of_cell(cell: FinishedCell) -> dict[str, object]:
    """gatebench.json: the cell's axes and metrics, and of each of its stages what its key is the hash of."""
    stages = {kind: {name: made[name] for name in OF_A_MANIFEST if name in made}
              for kind, made in ((kind, dict(made)) for kind, made in cell.made.items())}  # fmt: skip
    return {"suite": cell.run.suite, "run": cell.run.id, "cell": cell.result.id, **cell.result.axes(),
            "metrics": dict(cell.result.metrics), "stages": stages}  # fmt: skip


def write_folder(cell: FinishedCell, to: Path, name: str) -> None:
    """name: what the card tells to load. Raises UserError for a folder that holds something."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to}: there is something already; name a new folder with --to")
    target = to.resolve()
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    beside.parent.mkdir(parents=True, exist_ok=True)
    try:
        adapted = (cell.trained / MODEL / ADAPTER).exists()
        if adapted:
            cast("PreTrainedModel", load_policy(cell.trained, FLOAT32)).save_pretrained(beside)
            load_tokenizer(cell.trained).save_pretrained(beside)
        else:
            shutil.copytree(cell.trained / MODEL, beside, copy_function=shutil.copyfile)  # readable by others
        write_text(beside / CARD_FILE, model_card(cell, name, MERGED_WEIGHTS if adapted else AS_TRAINED))
        write_json(beside / FACTS_FILE, facts_of_cell(cell))
        if target.exists():
            target.rmdir()
        os.rename(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def push(folder: Path, name: str) -> str:
    """Upload a folder to a model's name on the hub, which is made, private, where it is not there; the address.

    Raises UserError where the hub does not take it.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(name, repo_type="model", private=True, exist_ok=True)
        api.upload_folder(repo_id=address.repo_id, folder_path=str(folder), repo_type="model")
    except Exception as error:  # no network, no right, no such name: as many kinds as there are ways to it
        why = " ".join(str(error).split())[:200]
        raise UserError(
            f"{name}: the hub does not take it ({why}); log in with `hf auth login` or HF_TOKEN. The folder is whole: "
            f"hf upload {name} {folder}"
        ) from None
    return str(address)
