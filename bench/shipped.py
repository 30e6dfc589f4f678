"""What comes with the package beside its code: suites by name, and the versions that everything was tested with.

In a checkout they lie at the top of the repository; in a wheel inside the package, where setup.py copies them.
"""

from __future__ import annotations

from pathlib import Path

BESIDE = Path(__file__).parents[1]  # the folder that holds `bench`: of the repository, or of the installed package
DATA_VARIABLE = "GATEBENCH_DATA"  # of the environment: the folder of local copies of data, as --data names it
TESTED_WITH = BESIDE / "constraints.txt"
SUITE_ENDINGS = (".yaml", ".yml")


def shipped_suites() -> dict[str, Path]:
    """The shipped suites by name."""
    return {file.stem: file for file in sorted((BESIDE / "suites").glob("*.yaml"))}


def suite_file(given: str) -> Path:
    """The file of a suite that is named on a command line: a path, or the name of a shipped one."""
    path = Path(given)
    if path.exists() or path.suffix in SUITE_ENDINGS or len(path.parts) > 1:
        return path
    return shipped_suites().get(given, path)


def tested_versions() -> dict[str, str]:
    """The versions of constraints.txt by the name of the package."""
    lines = TESTED_WITH.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {name.strip(): version.strip() for name, version in pairs}
