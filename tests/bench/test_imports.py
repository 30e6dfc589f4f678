"""Imports go one way (the architecture), read from the syntax trees; nothing is imported to check it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "mlflow",
    "pandas",
    "plotly",
    "pyarrow",
    "tokenizers",
    "scipy",
}
# package -> what it may not import, at any depth
FORBIDDEN = {
    "objectives": ("bench", "dashboards"),
    "bench/data": (
        "bench.suite",
        "bench.plan",
        "bench.store",
        "bench.stages",
        "bench.executors",
        "bench.models",
        "dashboards",
    ),
    "bench/models": ("bench.suite", "bench.plan", "bench.store", "bench.stages", "bench.executors", "dashboards"),
    "bench/stages": ("bench.suite", "bench.plan", "bench.tracking", "bench.summary", "bench.executors", "dashboards"),
    "bench/executors": ("bench.suite", "bench.cli", "bench.summary", "bench.tracking", "dashboards"),
    "dashboards": ("bench.cli", "bench.tracking", "bench.executors", "bench.suite", "bench.plan"),
}


def imports(file, top_only=False):
    """Module names a file imports; `top_only` leaves out those inside functions and TYPE_CHECKING."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = tree.body if top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(package):
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_go_one_way(package):
    wrong = [
        (str(file.relative_to(ROOT)), name)
        for file in files(package)
        for name in imports(file)
        for forbidden in FORBIDDEN[package]
        if name == forbidden or name.startswith(forbidden + ".")
    ]
    assert wrong == []


def test_only_one_file_builds_on_trl():
    """The others measure against stock TRL."""
    users = {str(file.relative_to(ROOT)) for package in ("objectives", "bench", "dashboards") for file in files(package)
             for name in imports(file) if name.split(".")[0] == "trl"}  # fmt: skip
    assert users == {"objectives/trl.py", "bench/perf/contestants.py", "bench/perf/stock.py"}
    assert "trl" not in (ROOT / "objectives/__init__.py").read_text()


def test_pure_objectives_import_torch_only():
    for file in files("objectives"):
        if file.name != "trl.py":
            assert not {name.split(".")[0] for name in imports(file)} & (HEAVY - {"torch"}), file


def test_heavy_libraries_are_imported_where_they_are_used():
    """No module of bench or dashboards imports a heavy library when it is itself imported."""
    wrong = [
        (str(file.relative_to(ROOT)), name)
        for package in ("bench", "dashboards")
        for file in files(package)
        for name in imports(file, top_only=True)
        if name.split(".")[0] in HEAVY
    ]
    assert wrong == []


LIGHT = ("bench.errors", "bench.given", "bench.shown")  # what the command line may import at the top


@pytest.mark.parametrize("module", ["bench.cli", *LIGHT])
def test_help_waits_for_nothing_of_the_project(module):
    file = ROOT / f"{module.replace('.', '/')}.py"
    own = [name for name in imports(file, top_only=True) if name.startswith(("bench", "objectives", "dashboards"))]
    assert [name for name in own if not name.startswith(LIGHT)] == []
