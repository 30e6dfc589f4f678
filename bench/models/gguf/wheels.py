"""`wheel:NAME==VERSION`: a model that comes as a Python package, found without importing it.

It is looked for among the installed packages, then as a wheel file in the folders given. Packages whose model is split
have it as `*.gguf.partNN` in packages that they require and that carry their name (`NAME-part1` ...).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, PathDistribution, distribution
from pathlib import Path, PurePosixPath

WHEEL, GGUF = "wheel:", ".gguf"
ASKED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:==([A-Za-z0-9][A-Za-z0-9.!+_-]*))?")
PART_NAME = re.compile(r"(.+)\.gguf\.part(\d+)")


class NotFoundInWheels(Exception):
    """Why a wheel gives no model, in a sentence."""


@dataclass(frozen=True)
class Package:
    """An installed package or a wheel file: where each of its files is, as a part (parts.py), and what it requires."""

    name: str
    version: str
    files: Sequence[str]
    requires: Sequence[str]


def is_gguf(path: str) -> bool:
    """Whether a model's path means a GGUF file: it ends so, or names a wheel."""
    return path.startswith(WHEEL) or path.lower().endswith(GGUF)


def wheel_parts(path: str, folders: Sequence[Path]) -> tuple[str, ...]:
    """The parts of the model of `wheel:NAME` or `wheel:NAME==VERSION`. Raises NotFoundInWheels."""
    asked = path.removeprefix(WHEEL)
    package = _found(asked, folders)
    whole = [file for file in package.files if file.endswith(GGUF)]
    if len(whole) > 1:
        told = ", ".join(PurePosixPath(file).name for file in whole)
        raise NotFoundInWheels(f"{asked} has more than one model ({told}); unpack it and name the file")
    return (whole[0],) if whole else _joined(package, folders)


def _joined(package: Package, folders: Sequence[Path]) -> tuple[str, ...]:
    found: dict[int, str] = {}
    names = set()
    for own in (package, *(_found(asked, folders) for asked in _required(package))):
        for file in own.files:
            if match := PART_NAME.fullmatch(PurePosixPath(file).name):
                names.add(match[1])
                found[int(match[2])] = file
    if not found:
        raise NotFoundInWheels(f"{package.name} {package.version} has no {GGUF} file")
    numbers = sorted(found)
    if len(names) > 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers))) or numbers[0] > 1:
        raise NotFoundInWheels(f"{package.name} {package.version} has parts {numbers} of {', '.join(sorted(names))}, "
                               "which are not those of one file")  # fmt: skip
    return tuple(found[number] for number in numbers)


def _required(package: Package) -> Iterator[str]:
    """Those of a package's requirements that carry its name, as NAME or NAME==VERSION."""
    for wanted in package.requires:
        match = ASKED.match(wanted.replace(" ", ""))
        if match and _plain(match[1]).startswith(f"{_plain(package.name)}-"):
            yield match[0]


def _found(asked: str, folders: Sequence[Path]) -> Package:
    match = ASKED.fullmatch(asked)
    if match is None:
        raise NotFoundInWheels(f"{asked!r} is no package; {WHEEL}NAME==VERSION is expected")
    name, wanted = match[1], match[2]
    try:
        installed = _package(distribution(name))
    except PackageNotFoundError:
        installed = None
    if installed and wanted in (None, installed.version):
        return installed
    wheels = {file: _name_and_version(file) for folder in folders for file in sorted(folder.glob("*.whl"))}
    beside = [file for file, own in wheels.items() if own[0] == _plain(name) and wanted in (None, own[1])]
    if len({wheels[file] for file in beside}) > 1:
        told = " and ".join(sorted(wheels[file][1] for file in beside))
        raise NotFoundInWheels(
            f"{name} lies here in the versions {told}; name one, as {WHEEL}{name}=={told.split()[0]}"
        )
    if not beside:
        has = f"version {installed.version} of it is installed" if installed else "it is not installed"
        raise NotFoundInWheels(f"{has}, nor is its wheel in {' or '.join(map(str, folders))}; pip install {asked}")
    return _of_wheel(beside[0])


def _of_wheel(file: Path) -> Package:
    try:
        with zipfile.ZipFile(file) as wheel:
            (info,) = {name.split("/")[0] for name in wheel.namelist() if name.split("/")[0].endswith(".dist-info")}
            # a path inside a zip file is one in all that a distribution asks of it
            own = PathDistribution(zipfile.Path(wheel, f"{info}/"))
            return Package(own.name, own.version, [f"{file}/{name}" for name in wheel.namelist()], own.requires or [])
    except (zipfile.BadZipFile, ValueError, KeyError, OSError) as error:
        raise NotFoundInWheels(f"{file} is no wheel that can be read ({error}); fetch it again") from None


def _package(own: Distribution) -> Package:
    files = [str(Path(str(file.locate())).absolute()) for file in own.files or []]
    return Package(own.name, own.version, [file for file in files if Path(file).is_file()], own.requires or [])


def _plain(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _name_and_version(wheel: Path) -> tuple[str, str]:
    name, _, rest = wheel.name.partition("-")
    return _plain(name), rest.partition("-")[0]
