"""What is installed: one import name, all files of the folders, and a core that needs no harness."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helpers import ROOT

ROOMS = ("bench", "objectives", "dashboards")
BESIDE = ("suites", "constraints.txt")  # what a wheel holds beside code
SOURCES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "gatebench", *ROOMS, *BESIDE)
BUILD = "from setuptools import build_meta; import sys; getattr(build_meta, sys.argv[2])(sys.argv[1])"
HARNESS_ONLY = (
    "mlflow optuna optuna_dashboard lm_eval plotly matplotlib typer pydantic gatebench.bench gatebench.dashboards"
)
# trl itself imports these where they are there
HEAVY = f"torch transformers trl datasets peft pandas scipy sklearn pyarrow rich jinja2 yaml psutil {HARNESS_ONLY}"


class Built(NamedTuple):
    expected: set[str]  # names in the wheel, from the files of the folders
    wheel: Path
    sdist: Path

    def names(self) -> set[str]:
        """All but the metadata."""
        return {name for name in zipfile.ZipFile(self.wheel).namelist() if ".dist-info/" not in name}

    def metadata(self, name: str) -> str:
        with zipfile.ZipFile(self.wheel) as archive:
            (found,) = [file for file in archive.namelist() if file.endswith(f".dist-info/{name}")]
            return archive.read(found).decode()


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    """The wheel, built from a copy: a build folder of the checkout could hold files that are gone."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    files = [file.relative_to(source) for file in source.rglob("*") if file.is_file() and file.parent != source]
    files.append(Path("constraints.txt"))
    expected = {file.as_posix() if file.parts[0] == "gatebench" else f"gatebench/{file.as_posix()}" for file in files}
    subprocess.run([sys.executable, "-c", BUILD, str(folder), "build_sdist"], cwd=source, check=True,
                   capture_output=True)  # fmt: skip
    (sdist,) = folder.glob("*.tar.gz")
    # from the sdist, as an installer without a wheel does
    shutil.unpack_archive(sdist, folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    subprocess.run([sys.executable, "-c", BUILD, str(folder), "build_wheel"], cwd=unpacked, check=True,
                   capture_output=True)  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    return Built(expected, wheel, sdist)


def test_the_wheel_holds_every_file_under_one_name(built):
    assert built.names() == built.expected
    few = ("py.typed", "bench/data/tasks/questions.py", "bench/data/tasks/toolbox_choice.yaml",
           "bench/stages/training/packing.py", "objectives/layout/scoring.py")  # fmt: skip
    assert {f"gatebench/{name}" for name in few} <= built.names()
    assert any(name.startswith("gatebench/dashboards/") and name.endswith(".html") for name in built.names())


def test_every_folder_with_python_files_is_a_package(built):
    folders = {str(Path(name).parent) for name in built.names() if name.endswith(".py")}
    packages = {str(Path(name).parent) for name in built.names() if name.endswith("/__init__.py")}
    assert folders - packages == {"gatebench/bench/data/tasks"}  # read by lm-eval from its folder


def test_the_wheel_says_what_it_needs(built):
    needed = message_from_string(built.metadata("METADATA")).get_all("Requires-Dist") or []
    core = {re.split(r"[^\w-]", need)[0] for need in needed if "extra ==" not in need}
    assert core == {"torch", "trl", "transformers", "numpy"}
    scripts = built.metadata("entry_points.txt")
    assert "bench = gatebench.bench.cli:main" in scripts
    assert "gatebench = gatebench.bench.cli:main" in scripts


def python(code: str, folder: Path, *path: Path) -> str:
    """What a fresh process prints that runs elsewhere than in the repository."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_is_installed_is_one_name(built, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(built.wheel).extractall(site)  # noqa: S202 (our own)
    code = f"""
from importlib.util import find_spec
import gatebench.bench.cli.app, gatebench.objectives.registry
print(gatebench.__file__, [name for name in {ROOMS} if find_spec(name)])
"""
    assert python(code, tmp_path, site) == f"{site / 'gatebench/__init__.py'} []"


@pytest.mark.slow
def test_an_installed_bench_finds_the_shipped_suites_and_the_tested_versions(built, tmp_path):
    """In an environment of its own with the libraries of this one, far from the repository."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    own = tmp_path / "venv/bin"
    subprocess.run([own / "pip", "install", "--quiet", "--no-deps", "--no-index", built.wheel], check=True)
    (site,) = (tmp_path / "venv/lib").glob("*/site-packages")
    libraries = [place for place in sys.path if place.endswith("site-packages")]
    (site / "libraries.pth").write_text("\n".join(libraries))
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def bench(*words: str) -> str:
        done = subprocess.run([own / "bench", *words], capture_output=True, text=True, cwd=tmp_path, check=False,
                              env=clean)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "18 cells" in bench("run", "scale_vs_gate", "--profile", "quick", "--dry-run")
    assert str(site / "gatebench/suites/scale_vs_gate.yaml") in bench("ls", "suites", "--json")
    code = "import gatebench.bench.shipped as s; print(s.__file__, s.tested_versions()['torch'])"
    done = subprocess.run([own / "python", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path,
                          env=clean)  # fmt: skip
    assert done.stdout.startswith(f"{site / 'gatebench/bench/shipped.py'} 2.")


def test_the_source_distribution_holds_what_a_build_and_a_reader_need(built):
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    suites = {f"suites/{file.name}" for file in (ROOT / "suites").glob("*.yaml")}
    assert suites
    assert {"constraints.txt", "setup.py", "README.md", "LICENSE", *suites} <= names


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("gatebench", HEAVY),
        ("gatebench.objectives.registry", HEAVY.removeprefix("torch ")),
        ("gatebench.objectives.trl", HARNESS_ONLY),
    ],
)
def test_the_core_imports_nothing_of_the_harness(tmp_path, module, never):
    code = f"import sys, {module}; print([name for name in {never.split()} if name in sys.modules])"
    assert python(code, tmp_path) == "[]"


def test_the_public_names_are_those_of_the_core(tmp_path):
    code = "import gatebench; print(*(f'{n}={getattr(gatebench, n)!r}' for n in gatebench.__all__), sep=chr(10))"
    found = dict(line.split("=", 1) for line in python(code, tmp_path).splitlines())
    assert found["GatedDPOTrainer"] == "<class 'gatebench.objectives.trl.trainer.GatedDPOTrainer'>"
    names = "Gate GateMixin GatedDPOConfig GatedDPOTrainer Loss PairLogProbs SqueezingCallback __version__ gate"
    assert found.keys() == set(names.split())


def is_bare(module: str) -> bool:
    return module.split(".")[0] in ROOMS


def is_our_module(text: str) -> bool:
    """Whether a text is the dotted bare name of a module or a package of ours."""
    place = ROOT.joinpath(*text.split("."))
    return "." in text and is_bare(text) and (place.with_suffix(".py").exists() or (place / "__init__.py").exists())


def bare_names(code: str) -> Iterator[tuple[int, str]]:
    """(line, name) of what a piece of code imports by a bare name, code in its strings too."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if is_bare(alias.name))
        elif isinstance(node, ast.ImportFrom) and not node.level and is_bare(node.module or ""):
            yield node.lineno, node.module or ""
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"\w+(\.\w+)+", node.value) and is_our_module(node.value):
                yield node.lineno, node.value
            elif "import " in node.value and is_code(node.value):
                yield from ((node.lineno, name) for _, name in bare_names(node.value))


def is_code(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


def test_bare_names_are_found():
    code = "import bench.keys\nfrom objectives import gates\nX = 'import dashboards'\nY = 'bench.cli.app'\n"
    fine = "from gatebench.bench import keys\nfrom . import bench\nZ = 'objectives.0.loss: import it'\n"
    assert [name for _, name in bare_names(code)] == ["bench.keys", "objectives", "dashboards", "bench.cli.app"]
    assert not list(bare_names(fine))


def test_nothing_imports_a_folder_by_its_bare_name():
    files = [file for folder in ("gatebench", *ROOMS, "tests") for file in sorted((ROOT / folder).rglob("*.py"))]
    texts = {file.relative_to(ROOT): file.read_text(encoding="utf-8") for file in files if file != Path(__file__)}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    texts |= {Path(f"README.md, block {n}"): block
              for n, block in enumerate(re.findall(r"```python\n(.*?)```", readme, re.S))}  # fmt: skip
    found = [f"{place}:{line}: {name}" for place, code in texts.items() for line, name in bare_names(code)]
    assert not found, "\n".join(found)
