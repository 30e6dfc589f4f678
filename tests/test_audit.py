"""What `make audit` makes of pip-audit's report."""

import runpy

import pytest

from tests.helpers import ROOT

findings = runpy.run_path(str(ROOT / ".ci/audit.py"))["findings"]
CLEAN = {"name": "a", "version": "1", "vulns": []}
UNKNOWN = {"name": "b", "skip_reason": "Dependency not found on PyPI and could not be audited: b (1)"}
MENDED = {"name": "c", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2", "3"]}]}
OPEN = {"name": "d", "version": "1", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]}


@pytest.mark.parametrize(
    ("packages", "sentences", "code"),
    [
        ([CLEAN], ["1 packages audited, 0 known vulnerabilities"], 0),
        ([UNKNOWN, UNKNOWN], ["not audited: the advisory service answered for none of 2 packages"], 0),
        (
            [CLEAN, UNKNOWN, MENDED, OPEN],
            [
                "c 1: PYSEC-1, mended in 2, 3",
                "d 1: PYSEC-2, not mended in any version",
                "3 packages audited, 2 known vulnerabilities; the advisory service did not know 1 more",
            ],
            1,
        ),
    ],
)
def test_a_service_that_knows_nothing_is_no_clean_bill(packages, sentences, code):
    assert findings(packages) == (sentences, code)
