"""Whether what a suite names on the hub can be had, asked once and before anything runs: libraries ask again and again,
and say neither which name it was nor why."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

SECONDS_TO_ANSWER = 10.0  # seconds, for an answer


def why_not_there(kind: Literal["model", "dataset"], name: str, revision: str | None) -> str:
    """Why a model or data set cannot be had; "" where the hub has it, or the hub does not answer and it is here."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.file_download import repo_folder_name

    try:
        HfApi().repo_info(name, repo_type=kind, revision=revision, timeout=SECONDS_TO_ANSWER)
    except GatedRepoError:
        return "it is gated, and this account has no access to it"
    except (RepositoryNotFoundError, HFValidationError):
        return "the hub has nothing of that name, or not for this account"
    except RevisionNotFoundError:
        return f"it has no revision {revision!r}"
    except Exception as error:  # no network, a proxy, a server in trouble: as many kinds as there are ways to it
        if (Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind) / "snapshots").is_dir():
            return ""
        return f"it is not on this machine, and the hub does not answer ({' '.join(str(error).split())[:200]})"
    return ""
