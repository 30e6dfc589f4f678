"""The base of everything that is read from a suite file, and what a name or a place in one may be."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

MOST_LETTERS = 100
ALTERNATIVE = "function-"  # how parts of an error's location begin that no file has: which alternative was taken
LONGEST_PART = 255  # bytes of a file's name


class Strict(BaseModel):
    """Frozen; unknown keys and numbers that are not finite are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _is_name(name: str) -> str:
    """Names become parts of a cell's id, of folders and of tables."""
    if not name.strip() or name != name.strip() or len(name) > MOST_LETTERS:
        raise ValueError(f"a name has 1 to {MOST_LETTERS} letters and no space at its ends")
    wrong = next((letter for letter in name if letter in "/\\" or not letter.isprintable()), None)
    if wrong is not None or name in (".", ".."):
        reason = "is a folder's" if wrong is None else f"has {wrong!r}"
        raise ValueError(f"{name!r} cannot be a name, as it {reason}; give it another `name`")
    return name


def _is_place(path: str) -> str:
    if not path.strip() or not path.isprintable() or any(len(p.encode()) > LONGEST_PART for p in path.split("/")):
        raise ValueError("expected a path, a hub name or builtin:...")
    return path


Name = Annotated[str, AfterValidator(_is_name)]
Place = Annotated[str, AfterValidator(_is_place)]
