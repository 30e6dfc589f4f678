"""A suite file, read: its profiles, its overrides and its errors, every one at once with file, line and key."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard, get_args, get_type_hints

from pydantic import BaseModel, ValidationError

from gatebench.bench.errors import UserError, at
from gatebench.bench.shipped import SUITE_ENDINGS, shipped_suites
from gatebench.bench.suite.schema import Suite
from gatebench.bench.suite.strict import ALTERNATIVE
from gatebench.bench.suite.strict_yaml import Location, parse, read_text
from gatebench.objectives.names import nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Raw: TypeAlias = dict[str, object]  # a mapping of a suite file, as YAML reads it


def text_of_suite(file: Path) -> str:
    """What a suite file says. Raises UserError where there is none, or it is no small file of text."""
    if not file.exists():
        others = [path.name for path in file.parent.glob("*.yaml")] if file.parent.exists() else []
        known = others if file.suffix in SUITE_ENDINGS else [*others, *shipped_suites()]
        raise UserError(f"{file}: no such suite file" + (f"; {nearest(file.name, known)}" if known else ""))
    return read_text(file)


def load_suite(
    file: Path,
    profile: str | None = None,
    settings: Mapping[str, object] | None = None,
    text: str | None = None,
) -> Suite:
    """Read, overlay and validate a suite file.

    settings: dotted keys over the file's ("train.learning_rate": 1e-6); text: what the file says, where it was read
    already. Raises UserError with every mistake, each with file, line, key and the nearest valid word.
    """
    raw, lines = _parsed(file, text_of_suite(file) if text is None else text)
    profiles = _block(file, lines, raw.pop("profiles", {}), "profiles")
    if profile is not None:
        if profile not in profiles:
            raise UserError(
                f"{at(file, lines.get(('profiles',)))} profiles: no profile {profile!r}; "
                + (nearest(profile, profiles) if profiles else "the suite has none")
            )
        raw = _overlay(raw, _block(file, lines, profiles[profile], "profiles", profile))
        lines = {**lines, **{key[2:]: line for key, line in lines.items() if key[:2] == ("profiles", profile)}}
    given = [tuple(key.split(".")) for key in settings or {}]
    for key, value in (settings or {}).items():
        raw = _overlay(raw, _nested(key, value))
    try:
        return Suite.model_validate(raw)
    except ValidationError as error:
        raise UserError(*(_sentence(file, lines, given, problem) for problem in error.errors())) from None


def profiles_of(file: Path) -> list[str]:
    """The names of a suite's profiles."""
    raw, lines = _parsed(file, text_of_suite(file))
    return list(_block(file, lines, raw.get("profiles", {}), "profiles"))


def name_in(file: Path) -> str:
    """The name that a suite file gives its runs; "" where it has none."""
    return str(_parsed(file, text_of_suite(file))[0].get("name", ""))


def _block(file: Path, lines: Mapping[Location, int], value: object, *path: str) -> Raw:
    if not isinstance(value, dict):
        raise UserError(f"{at(file, lines.get(path), '.'.join(path))}: expected a mapping of keys (got {value!r})")
    return value


def _parsed(file: Path, text: str) -> tuple[Raw, dict[Location, int]]:
    """The raw mapping of a suite file and the line of each of its keys."""
    raw, lines = parse(text, file)
    if not isinstance(raw, dict):
        raise UserError(f"{file}: expected a mapping with name, models, datasets, objectives and gates")
    return raw, lines


def _nested(key: str, value: object) -> Raw:
    part, more, rest = key.partition(".")
    return {part: _nested(rest, value) if more else value}


def _overlay(below: Raw, above: Raw) -> Raw:
    """above over below; mappings are merged, everything else replaced."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _overlay(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _sentence(file: Path, lines: Mapping[Location, int], settings: Sequence[Location], problem: ErrorDetails) -> str:
    location = tuple(part for part in problem["loc"] if not (isinstance(part, str) and part.startswith(ALTERNATIVE)))
    known = location
    while known and known not in lines:
        known = known[:-1]
    key = ".".join(map(str, location))
    place = at(file, lines.get(known), key).removesuffix(":")  # without a key it ends in a colon
    if any(location[: len(setting)] == setting for setting in settings):
        place = f"--set {key}"
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{place}: unknown key; {nearest(str(location[-1]), _keys_at(location[:-1]))}"
    if problem["type"] == "missing":
        return f"{place}: missing; this key is required"
    given = problem.get("input")
    shown = f" (got {given!r})" if isinstance(given, str | int | float) else ""
    return (
        f"{place}: {problem['msg'].removeprefix('Value error, ')}{shown if 'Value error' not in problem['msg'] else ''}"
    )


def _keys_at(location: Location) -> list[str]:
    """The valid keys of the block at a location of the schema."""
    schema: type | None = Suite
    for part in location:
        if isinstance(part, int):
            continue
        hint = get_type_hints(schema).get(part) if schema else None
        options = [hint, *get_args(hint), *(inner for outer in get_args(hint) for inner in get_args(outer))]
        schema = next((option for option in options if _is_block(option)), None)
    if schema is None:
        return []
    if issubclass(schema, BaseModel):
        return list(schema.model_fields)
    return [field.name for field in dataclasses.fields(schema)] if dataclasses.is_dataclass(schema) else []


def _is_block(option: object) -> TypeGuard[type]:
    return isinstance(option, type) and (issubclass(option, BaseModel) or dataclasses.is_dataclass(option))
