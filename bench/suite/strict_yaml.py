"""YAML of a user's, read strictly: bounded, without duplicate keys, every mistake with its line."""

from __future__ import annotations

import math
from collections.abc import Hashable
from pathlib import Path
from typing import TypeAlias

import yaml

from gatebench.bench.errors import UserError, at

Location: TypeAlias = tuple[str | int, ...]  # keys and places in lists, from the top
LARGEST_FILE = 2**20  # bytes
DEEPEST = 50  # blocks in blocks; the schema has six
MOST_VALUES = 100_000  # keys and values, those of aliases counted where they are used
LARGEST_NUMBER = 2**63


def read_text(file: Path) -> str:
    """A small text file in UTF-8, with or without a byte order mark. Raises UserError for another."""
    size = file.stat().st_size
    if not file.is_file() or size > LARGEST_FILE:
        what = f"{size:,} bytes" if file.is_file() else "no regular file"
        raise UserError(f"{file}: {what}; a suite is a text file of at most {LARGEST_FILE:,} bytes")
    content = file.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise UserError(f"{file}: written in UTF-16; save it as UTF-8") from None
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{at(file, line)} byte 0x{content[error.start]:02x} is no UTF-8; save the file as UTF-8"
        ) from None


def parse(text: str, file: object) -> tuple[object, dict[Location, int]]:
    """The value of a document, and the line of each of its keys and list items.

    file: as it is named in a sentence. Raises UserError with its line for what is not YAML, for a key that stands
    twice, for numbers that are not finite, for tags, and for what is too deep or, by its aliases, too much.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Location, int] = {}
        _walk(node, (), lines)
        return (None if node is None else loader.construct_document(node)), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context
        raise UserError(
            f"{at(file, mark.line + 1 if mark else None)} not YAML that a suite can be: {problem}"
        ) from None
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise UserError(f"{at(file)} not YAML that a suite can be: {said}") from None
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """SafeLoader that stops at DEEPEST, and says of each value that it cannot make why not."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        try:
            if self.depth > DEEPEST:
                raise yaml.MarkedYAMLError(
                    problem=f"more than {DEEPEST} blocks in one another",
                    problem_mark=self.peek_event().start_mark,  # type: ignore[no-untyped-call]
                )
            found: yaml.Node | None = super().compose_node(parent, index)
            return found
        finally:
            self.depth -= 1

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Hashable:
        try:
            found: Hashable = super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except (ValueError, KeyError, TypeError, OverflowError, AttributeError):
            shown = f" {node.value[:40]!r}" if isinstance(node.value, str) else ""
            kind = node.tag.rpartition(":")[2]
            raise _problem(node, f"{shown.strip() or 'a value'} is no {kind}") from None
        reason = _refused(found)
        if reason:
            raise _problem(node, reason)
        return found


def _problem(node: yaml.Node, words: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=words, problem_mark=node.start_mark)


def _refused(value: object) -> str | None:
    """Why a scalar can be no value of a suite."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is no finite number"
    if isinstance(value, int) and abs(value) >= LARGEST_NUMBER:
        return "a whole number of more than 63 bits"
    if isinstance(value, str):
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            return "half of a surrogate pair, which is no letter"
        if "\0" in value:
            return "a zero byte, which no text has"
    elif value is not None and not isinstance(value, bool | int | float | list | dict):
        return f"a {type(value).__name__}; put quotes around it if a text is meant"
    return None


def _walk(node: yaml.Node | None, path: Location, lines: dict[Location, int], above: tuple[int, ...] = ()) -> None:
    """Fill in the lines; refuse keys that stand twice, rings, and bombs."""
    if not isinstance(node, yaml.CollectionNode):
        return
    if id(node) in above:
        raise _problem(node, "an alias of a block that it stands in")
    above = (*above, id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note(lines, (*path, index), item)
            _walk(item, (*path, index), lines, above)
        return
    own: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _problem(key, "a key that is no word")
        if key.value in own:
            raise _problem(key, f"the key {key.value!r} stands twice in its block")
        own.add(key.value)
        _note(lines, (*path, key.value), key)
        _walk(value, (*path, key.value), lines, above)


def _note(lines: dict[Location, int], place: Location, node: yaml.Node) -> None:
    lines[place] = node.start_mark.line + 1
    if len(lines) > MOST_VALUES:
        raise _problem(node, f"more than {MOST_VALUES:,} values, those of its aliases counted where they are used")
