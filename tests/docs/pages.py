"""A page of docs/ as what it shows: its blocks run in order, in a folder of their own, as a reader would run them.

    a block with a title         is written to a file of that name
    python                       runs; the blocks without a title share their names
    bash                         its lines `bench ...` and `python ...` run
    yaml                         a suite is planned; a part of one is read as a part of the suite before it
    json, toml                   is parsed
    text                         is what something prints, and is not looked at
    <!-- not run: WHY -->        before a block: it is parsed (a suite read, a command's arguments checked) and no more

Stand-ins make that quick: suites get a few pairs and steps, a file of pairs more rows, path/or/hub-id is a small model.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
import yaml

from gatebench.bench.cli.app import app
from gatebench.bench.plan.planner import make_plan
from gatebench.bench.plan.resolve import resolve
from gatebench.bench.suite.reader import load_suite
from tests.helpers import GOOD, ROOT, bench, python, write

DOCS = ROOT / "docs"
FENCE = re.compile(
    r"(?:^<!-- not run: (?P<why>[^\n]+) -->\n)?"
    r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.M | re.S,
)
SNIPPET = re.compile(r'^--8<-- "(.+)"$', re.M)
MODEL = "path/or/hub-id"
AS_SCRIPT = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
ROWS = 48  # of a file of pairs


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    why: str  # it is not run; "" where it is
    text: str
    line: int


def pages() -> list[Path]:
    return sorted(file for file in DOCS.rglob("*.md"))


def blocks(page: Path) -> list[Block]:
    """Those of a page, with the files that they show put in. Raises ValueError for a fence that is none of them."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(
            match["language"], match["title"] or "", match["why"] or "",
            SNIPPET.sub(lambda name: (ROOT / name[1]).read_text(encoding="utf-8").strip(), match["text"]),
            text[: match.start("language")].count("\n") + 1,
        )
        for match in FENCE.finditer(text)
    ]  # fmt: skip
    if 2 * len(found) != len(re.findall(r"^\s*```", text, re.M)):
        raise ValueError(f"{page}: a block is indented or not closed, so that nothing runs it")
    return found


@dataclass
class Reader:
    """Whoever follows a page, in a folder; models: what stands for path/or/hub-id."""

    folder: Path
    model: str
    scope: dict[str, Any] = field(default_factory=dict)
    suite: Mapping[str, Any] = field(default_factory=lambda: yaml.safe_load(GOOD))

    def follow(self, block: Block) -> None:
        text = block.text.replace(MODEL, self.model)
        makers: dict[str, Callable[[str, Block], None]] = {
            "python": self._python, "bash": self._bash, "yaml": self._yaml, "json": self._json, "toml": self._toml,
            "text": lambda text, block: None,
        }  # fmt: skip
        assert block.language in makers, f"line {block.line}: {block.language or 'a block without a language'}"
        makers[block.language](text, block)

    def _python(self, text: str, block: Block) -> None:
        code = compile(text, f"line {block.line}", "exec")
        if block.why:
            return
        if not block.title:
            exec(code, self.scope)  # noqa: S102
            return
        write(self.folder, text, block.title)
        self._script(block.title)

    def _script(self, *words: str) -> None:
        """`python WORDS`."""
        done = python(AS_SCRIPT, *words, cwd=self.folder, **self._environment())
        assert done.returncode == 0, done.stderr

    def _bash(self, text: str, block: Block) -> None:
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["bench"]:
                self._bench(words[1:], run=not block.why)
            elif words[:1] == ["python"] and not block.why:
                self._script(*words[1:])
            else:
                assert block.why or not words, f"line {block.line}: {line!r} is run by nobody; say why"

    def _bench(self, words: list[str], run: bool) -> None:
        name, *arguments = words
        typer.main.get_command(app).commands[name].make_context(name, arguments)  # raises for what it does not know
        if run:
            done = bench(*words, cwd=self.folder, **self._environment())
            assert done.returncode == 0, f"bench {' '.join(words)}: {done.stderr}"

    def _environment(self) -> dict[str, str]:
        return {"PYTHONPATH": f"{self.folder}:{ROOT}", "HF_HUB_OFFLINE": "1"}

    def _yaml(self, text: str, block: Block) -> None:
        raw = yaml.safe_load(text)
        if self._has_own_plugins():  # which other processes find, and this one does not: a command has to read it
            write(self.folder, yaml.safe_dump(small(raw), allow_unicode=True), block.title)
            return
        whole = "models" in raw and "objectives" in raw
        if whole:
            self.suite = raw
        else:
            raw = {**self.suite, **raw}
        shown = text if whole else yaml.safe_dump(raw, allow_unicode=True)
        file = write(self.folder, shown, block.title or "shown.yaml")
        suite = load_suite(file)
        if not block.why:
            make_plan(suite, resolve(suite, file))
        if block.title:
            write(self.folder, yaml.safe_dump(small(raw), allow_unicode=True), block.title)

    def _has_own_plugins(self) -> bool:
        """Whether the page adds losses or judges by entry points."""
        return (self.folder / "pyproject.toml").exists()

    def _json(self, text: str, block: Block) -> None:
        rows = [json.loads(line) for line in text.splitlines()]
        if block.title:
            many = [{key: f"{number}. {value}" if key == "prompt" else value for key, value in row.items()}
                    for number in range(ROWS) for row in rows]  # fmt: skip
            write(self.folder, "".join(f"{json.dumps(row)}\n" for row in many), block.title)

    def _toml(self, text: str, block: Block) -> None:
        """What `pip install -e .` would leave of a package that has entry points."""
        project = tomllib.loads(text)["project"]
        write(self.folder, text, block.title)
        info = self.folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        write(info, f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", "METADATA")
        groups = [f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in entries.items())
                  for group, entries in project["entry-points"].items()]  # fmt: skip
        write(info, "\n".join(groups), "entry_points.txt")


def small(suite: Mapping[str, Any]) -> dict[str, Any]:
    """The same suite, of one seed, a few pairs, probes, tokens and steps."""
    good = yaml.safe_load(GOOD)
    datasets = [{"path": one} if isinstance(one, str) else one for one in suite["datasets"]]
    evaluate = suite.get("evaluate", {})
    found = {
        **suite,
        **{name: {**suite.get(name, {}), **good[name]} for name in ("base", "warmup", "train")},
        "seeds": [0],
        "datasets": [{**one, "train": 24, "test": 8} for one in datasets],
        "evaluate": {**evaluate, "dynamics": good["evaluate"]["dynamics"]},
    }
    for name in ("epochs", "max_prompt_length"):
        found["train"].pop(name, None)
    if "generate" in evaluate:
        found["evaluate"]["generate"] = {**evaluate["generate"], "prompts": 3, "max_tokens": 4}
    if "tune" in suite:
        found["tune"] = {**suite["tune"], "trials": 2}
    return found
