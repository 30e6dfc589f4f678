"""The paper index has a whole row for every loss and gate that is registered."""

from __future__ import annotations

import re

import pytest
from site_pages import papers

from gatebench.objectives.gates import KINDS
from gatebench.objectives.registry import BUILT_IN
from tests.docs.pages import DOCS
from tests.helpers import ROOT

PAGE = (DOCS / "papers.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("loss", BUILT_IN, ids=lambda loss: loss.name)
def test_a_loss_has_paper_equation_file_defaults_and_trap(loss):
    row = papers.row_of(loss)
    assert re.search(r"arXiv \d{4}\.\d{4,5}", row.paper) or loss.name in ("sft", "trl:sft"), row.paper
    assert row.paper
    assert row.equation.startswith("L = ")
    assert (ROOT / row.file).is_file()
    assert row.defaults
    assert row.trap


def test_every_loss_stands_in_a_table():
    shown = papers.losses_table() + papers.trl_losses_table()
    assert [loss.name for loss in BUILT_IN if f"| `{loss.name}` |" not in shown] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_gate_has_a_row_whose_file_is_there(kind):
    (row,) = re.findall(rf"^\| `{kind}` \|(.+)\|$", PAGE, re.M)
    paper, does, file, defaults, trap = (cell.strip() for cell in re.split(r"(?<!\\)\|", row))
    assert does
    assert trap
    assert (ROOT / file.strip("`")).is_file()
    assert (paper and defaults) or kind == "none"
