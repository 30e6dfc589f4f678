"""The architecture, read from the syntax trees alone: which room may import which, and that a name is defined once."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

from tests.helpers import ROOT

# from the top to the bottom: an import goes down, never to a room of its own line or above
LAYERS = (
    ("gatebench.__main__",),
    ("gatebench.bench.cli",),
    ("gatebench.bench.tune", "gatebench.bench.perf", "gatebench.bench.doctor", "gatebench.bench.export"),
    ("gatebench.bench.run",),
    ("gatebench.dashboards", "gatebench.bench.tracking"),
    ("gatebench.bench.judged",),
    ("gatebench.bench.analysis",),
    ("gatebench.bench.cost",),
    ("gatebench.bench.executors",),
    ("gatebench.bench.plan",),
    ("gatebench.bench.stages",),
    ("gatebench.bench.suite",),
    ("gatebench.bench.metrics",),
    ("gatebench.bench.models", "gatebench.bench.judges"),
    ("gatebench.bench.engines", "gatebench.bench.data"),
    ("gatebench.bench.store",),
    ("gatebench.bench.loopback",),
    tuple(f"gatebench.bench.{name}" for name in "machine console process secrets keys errors shipped".split()),
    ("gatebench",),  # the public face: its __init__ hands on names of the objectives
    ("gatebench.objectives",),
)
ROOMS = {room: floor for floor, rooms in enumerate(LAYERS) for room in rooms}
SIDEWAYS = {  # (from, to): what rooms of one line may import of each other, one way only
    ("gatebench.bench.judges", "gatebench.bench.models"),
}
HEAVY = set(
    "torch transformers trl peft accelerate datasets tokenizers safetensors vllm lm_eval mlflow optuna pandas pyarrow"
    " plotly matplotlib scipy sklearn ray".split()
)
# modules that derive a class from a library's, and are themselves imported where they are used
DERIVED = {("gatebench.bench.tune.journal", "optuna")}
# what the command line may import at the top, so that --help waits for nothing
LIGHT = tuple(f"gatebench.bench.{name}" for name in ("cli", "console", "errors", "secrets", "shipped", "run.prepare"))
# what each module of a kind has (stages, judges, parts of bench perf, losses), the losses that TRL has as well, and
# what modules have by custom
CONTRACT = {
    *("run", "Spec", "VERSION", "STAGE", "amount", "shorten", "by_prompt"),
    *("JUDGE", "EXECUTOR", "measure", "TICKS", "caution", "ipo", "sft", "main", "logger", "T"),
}
MOST_FILES = 15


class Import(NamedTuple):
    place: str
    module: str
    target: str
    at_top: bool  # runs when the module is imported

    def __str__(self) -> str:
        return f"{self.place}: {self.module} imports {self.target}"


@cache
def modules() -> dict[str, Path]:
    """Every module of the installed package and its file."""
    found = {}
    for folder in ("gatebench", "bench", "objectives", "dashboards"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            parts = parts if folder == "gatebench" else ("gatebench", *parts)
            found[".".join(parts).removesuffix(".__init__")] = file
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def statements(node: ast.AST, at_top: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below and whether it runs when the module is imported."""
    for child in ast.iter_child_nodes(node):
        yield child, at_top
        waits = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_type_checking(child)
        yield from statements(child, at_top and not waits)


def names(node: ast.AST, module: str) -> list[str]:
    """The modules that an import statement names, or the names that it takes out of them."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    package = module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]
    start = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    source = ".".join([*start, *([node.module] if node.module else [])])
    return [f"{source}.{alias.name}" for alias in node.names]


@cache
def imports(module: str) -> list[Import]:
    """All imports, deferred and type-only ones too; what is ours is named by its module."""
    place = modules()[module].relative_to(ROOT)
    found = []
    for node, at_top in statements(tree(module)):
        for name in names(node, module):
            target = name if name in modules() else name.rpartition(".")[0]
            known = target if target in modules() else name
            found.append(Import(f"{place}:{getattr(node, 'lineno', 0)}", module, known, at_top))
    return list(dict.fromkeys(found))


def everything() -> Iterator[Import]:
    return (found for module in modules() for found in imports(module))


def own() -> Iterator[Import]:
    return (found for found in everything() if found.target in modules())


def room(module: str) -> str | None:
    """The longest of the rooms that the module stands in; the face is no room but a module."""
    inside = [name for name in ROOMS if module == name or (name != "gatebench" and module.startswith(f"{name}."))]
    return max(inside, key=len, default=None)


def is_within(module: str, places: Iterable[str]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def listed(found: Iterable[object]) -> str:
    return "\n".join(["", *map(str, found)])


def test_every_module_stands_in_a_room():
    empty = {module for module in modules() if not tree(module).body}
    homeless = [module for module in modules() if room(module) is None and module not in empty]
    assert not homeless, listed(homeless)


def wrong_arrows() -> list[Import]:
    wrong = []
    for found in own():
        source, target = room(found.module), room(found.target)
        if (
            source
            and target
            and source != target
            and (source, target) not in SIDEWAYS
            and ROOMS[source] >= ROOMS[target]
        ):
            wrong.append(found)
    return wrong


def test_an_import_goes_down_the_layers():
    wrong = wrong_arrows()
    assert not wrong, listed(wrong)


def test_what_may_go_sideways_does_so_and_one_way_only():
    used = {(room(found.module), room(found.target)) for found in own()}
    assert used >= SIDEWAYS
    assert not {(target, source) for source, target in SIDEWAYS} & SIDEWAYS
    assert all(ROOMS[source] == ROOMS[target] for source, target in SIDEWAYS)


def circles() -> list[list[str]]:
    """A circle of each knot of modules: found, cut at its last arrow, and looked for again."""
    graph = {m: sorted({found.target for found in imports(m)} & modules().keys()) for m in modules()}
    found: list[list[str]] = []
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle = error.args[1]  # each is imported by the next
            found.append(list(reversed(circle)))
            graph[circle[1]].remove(circle[0])
        else:
            return found


def test_no_modules_import_each_other_in_a_circle():
    found = [" -> ".join(circle) for circle in circles()]
    assert not found, listed(found)


def test_a_stage_knows_of_the_suite_only_what_it_is_told():
    never = ("gatebench.bench.suite", "gatebench.bench.plan", "gatebench.bench.store", "gatebench.bench.tracking")
    wrong = [
        found
        for found in own()
        if is_within(found.module, ["gatebench.bench.stages"])
        and is_within(found.target, never)
        and not is_within(found.target, ["gatebench.bench.suite.recipes"])
    ]
    assert not wrong, listed(wrong)


def test_heavy_libraries_are_imported_where_they_are_used():
    """No module of bench or dashboards imports one when it is itself imported."""
    wrong = [
        found
        for found in everything()
        if is_within(found.module, ["gatebench.bench", "gatebench.dashboards", "gatebench.__main__"])
        and found.at_top
        and found.target.split(".")[0] in HEAVY
        and (found.module, found.target.split(".")[0]) not in DERIVED
    ]
    assert not [found for found in own() if found.at_top and found.target in dict(DERIVED)]
    assert not wrong, listed(wrong)


def test_only_one_folder_builds_on_trl():
    """Perf measures against stock TRL."""
    users = {found.module for found in everything() if found.target.split(".")[0] == "trl"}
    users = {user for user in users if not is_within(user, ["gatebench.bench.perf"])}
    assert users
    assert all(is_within(user, ["gatebench.objectives.trl"]) for user in users), listed(sorted(users))
    assert "trl" not in modules()["gatebench.objectives"].read_text(encoding="utf-8")


def test_pure_objectives_import_torch_only():
    wrong = [
        found
        for found in everything()
        if is_within(found.module, ["gatebench.objectives"])
        and not is_within(found.module, ["gatebench.objectives.trl"])
        and found.target.split(".")[0] in HEAVY - {"torch"}
    ]
    assert not wrong, listed(wrong)


def test_help_waits_for_nothing_of_the_project():
    wrong = [
        found
        for found in own()
        if is_within(found.module, LIGHT) and found.at_top and not is_within(found.target, LIGHT)
    ]
    assert not wrong, listed(wrong)


def test_a_folder_can_be_taken_in_at_a_glance():
    sizes = Counter(file.parent.relative_to(ROOT) for file in modules().values() if file.name != "__init__.py")
    large = {str(folder): size for folder, size in sizes.items() if size > MOST_FILES}
    assert not large


def defined(module: str) -> Iterator[str]:
    """The names that a module defines at its top."""
    for node in tree(module).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def doubled_names() -> dict[str, list[str]]:
    homes = defaultdict(set)
    for module, file in modules().items():
        for name in defined(module):
            homes[name].add(str(file.relative_to(ROOT)))
    return {
        name: sorted(places)
        for name, places in sorted(homes.items())
        if len(places) > 1 and not name.startswith("_") and name not in CONTRACT
    }


def test_a_public_name_is_defined_once():
    found = doubled_names()
    assert not found, listed(f"{name}: {', '.join(places)}" for name, places in found.items())
