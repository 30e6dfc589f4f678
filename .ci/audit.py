"""Known vulnerabilities of the pinned packages, by pip-audit; exit code 1 where there are some.

pip-audit also ends with "no known vulnerabilities" where its advisory service knew none of the packages: here that is
said as what it is, and fails nothing, so that a build does not hang on a service.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

OPTIONS = ("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "20")


def findings(packages: Sequence[Mapping[str, Any]]) -> tuple[list[str], int]:
    """Sentences and exit code of pip-audit's `dependencies`: each a name, and version and vulns or a skip_reason."""
    asked = [package for package in packages if "skip_reason" not in package]
    unknown = len(packages) - len(asked)
    if not asked:
        return [f"not audited: the advisory service answered for none of {unknown} packages"], 0
    said = [_sentence(package, found) for package in asked for found in package["vulns"]]
    last = f"{len(asked)} packages audited, {len(said)} known vulnerabilities"
    return [*said, f"{last}; the advisory service did not know {unknown} more" if unknown else last], int(bool(said))


def _sentence(package: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    mended = f"mended in {', '.join(found['fix_versions'])}" if found["fix_versions"] else "not mended in any version"
    return f"{package['name']} {package['version']}: {found['id']}, {mended}"


def main(requirements: str) -> int:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pip_audit", "--requirement", requirements, *OPTIONS],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        sentences, code = findings(json.loads(done.stdout)["dependencies"])
    except json.JSONDecodeError:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        sentences, code = [f"not audited: pip-audit gave no result ({reason})"], 0
    print("\n".join(sentences))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
