"""The folders at the top of the repository, installed under one import name, and what a wheel holds beside code; all
else stands in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOMS = ("bench", "objectives", "dashboards")
FOUND = [name for room in ROOMS for name in find_packages(include=[room, f"{room}.*"])]


class WithSuites(build_py):
    """An installed `bench run scale_vs_gate` finds the suites, and `bench doctor` the versions that were tested."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # which reads them where they lie
            return
        for file in [*sorted(Path("suites").glob("*.yaml")), Path("constraints.txt")]:
            target = Path(self.build_lib, "gatebench", file)
            self.mkpath(str(target.parent))
            self.copy_file(str(file), str(target))


setup(
    packages=["gatebench", *(f"gatebench.{name}" for name in FOUND)],
    package_dir={"gatebench": "gatebench", **{f"gatebench.{room}": room for room in ROOMS}},
    cmdclass={"build_py": WithSuites},
)
