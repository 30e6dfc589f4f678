"""Every key of a suite file, from the schema that reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gatebench.bench.suite.schema import Suite
from site_pages.markdown import code, table

Schema = Mapping[str, Any]
PLAIN = {"object": "mapping", "null": "null"}


def suite_keys() -> str:
    """A section a block of the file, in the order in which the suite names them."""
    schema = Suite.model_json_schema()
    blocks: dict[str, Schema] = {"Suite": schema}
    for name in _reached(schema, schema["$defs"]):
        blocks.setdefault(name, schema["$defs"][name])
    return "\n\n".join(_section(name, block) for name, block in blocks.items())


def _reached(part: object, known: Mapping[str, Schema], seen: tuple[str, ...] = ()) -> Iterator[str]:
    """Names of the blocks below a part of the schema, each after the one that names it."""
    if isinstance(part, Mapping):
        name = str(part.get("$ref", "")).removeprefix("#/$defs/")
        if name and name not in seen:
            yield name
            yield from _reached(known[name], known, (*seen, name))
        for key, value in part.items():
            if key != "$defs":
                yield from _reached(value, known, seen)
    elif isinstance(part, list):
        for value in part:
            yield from _reached(value, known, seen)


def _section(name: str, block: Schema) -> str:
    required = block.get("required", ())
    keys = [
        (code(key), kind(own), "required" if key in required else _default(own))
        for key, own in block["properties"].items()
    ]
    return f"## {name}\n\n{block.get('description', '')}\n\n{table(('key', 'what it is', 'by default'), keys)}"


def _default(own: Schema) -> str:
    value = own.get("default")
    if value in (None, "") or isinstance(value, dict):
        return ""
    return code(str(value).lower() if isinstance(value, bool) else value)


def kind(own: Schema) -> str:
    """What a key holds, in words, with links to blocks."""
    if "$ref" in own:
        name = own["$ref"].removeprefix("#/$defs/")
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in own:
            return " or ".join(dict.fromkeys(kind(one) for one in own[key] if one.get("type") != "null"))
    if "const" in own:
        return code(own["const"])
    if "enum" in own:
        return ", ".join(map(code, own["enum"]))
    if own.get("type") == "array":
        parts = own.get("prefixItems") or [own.get("items", {})]
        return f"list of {' and '.join(dict.fromkeys(kind(part) for part in parts))}"
    if own.get("type") == "object" and isinstance(own.get("additionalProperties"), Mapping):
        return f"mapping to {kind(own['additionalProperties'])}"
    found = PLAIN.get(own.get("type", ""), own.get("type", "any value"))
    return f"{found}{_bounds(own)}"


def _bounds(own: Schema) -> str:
    words = {"exclusiveMinimum": "above", "minimum": "from", "maximum": "up to", "exclusiveMaximum": "below"}
    told = [f"{word} {own[key]}" for key, word in words.items() if key in own and own[key] < 2**32]
    return f" {', '.join(told)}" if told else ""
