"""Whether the installed libraries are those that gatebench was tested with."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from gatebench.bench.doctor.finding import Finding
from gatebench.bench.shipped import TESTED_WITH

EXTRA = "bench"
TESTED_PYTHONS = ((3, 11), (3, 13))  # the first and the last that continuous integration runs
AS_TESTED = f"pip install --constraint {TESTED_WITH} 'gatebench[bench]' takes the tested ones"


def needed() -> list[Requirement]:
    """What gatebench and its harness need, by the installed package's own metadata."""
    found = [Requirement(line) for line in requires("gatebench") or ()]
    return [need for need in found if need.marker is None or need.marker.evaluate({"extra": EXTRA})]


def installed_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def python_finding(found: Sequence[int] = sys.version_info[:3]) -> Finding:
    """found: major, minor, micro."""
    said = ".".join(map(str, found))
    first, last = (".".join(map(str, minor)) for minor in TESTED_PYTHONS)
    if tuple(found[:2]) < TESTED_PYTHONS[0]:
        return Finding("Python", said, "broken", f"gatebench needs {first} or newer; make an environment with it")
    if tuple(found[:2]) > TESTED_PYTHONS[1]:
        return Finding("Python", said, "note", f"tested from {first} to {last}; if something fails, try {last}")
    return Finding("Python", said)


def library_findings(
    needs: Sequence[Requirement], tested: Mapping[str, str], installed: Callable[[str], str | None]
) -> Iterator[Finding]:
    """One finding for each library that is missing or of a version that cannot work, one for all others together.

    tested: versions by name; installed: the version of a name, None where it is not there.
    """
    known = {_plain(name): number for name, number in tested.items()}
    others, fine = [], 0
    for need in needs:
        found = installed(need.name)
        if found is None:
            yield Finding(need.name, "not installed", "broken", f"pip install 'gatebench[{EXTRA}]'")
        elif not need.specifier.contains(found, prereleases=True):
            told = f"gatebench needs {need.name}{need.specifier}: pip install '{need.name}{need.specifier}'"
            yield Finding(need.name, found, "broken", told)
        elif _release(found) != known.get(_plain(need.name), _release(found)):
            others.append(f"{need.name} {found} (tested: {known[_plain(need.name)]})")
        else:
            fine += 1
    if fine:
        yield Finding("libraries", f"{fine} as tested")
    if others:
        told = f"fine as far as is known; numbers may differ in their last bits, and keys with them. {AS_TESTED}"
        yield Finding("libraries", ", ".join(others), "note", told)


def _plain(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _release(found: str) -> str:
    """Without the local part, which names a build: 2.13.0+cpu is 2.13.0."""
    return found.partition("+")[0]
