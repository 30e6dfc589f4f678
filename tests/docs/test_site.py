"""The site as it is built: without a warning, and with nothing that a reader's browser would ask others for."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, pages
from tests.helpers import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("material") is None, reason="mkdocs-material is not installed (the extra docs)"),
]
ASKED = re.compile(r'<(?:script|img|iframe|link)\b[^>]*?(?:src|href)="?((?:https?:)?//[^"\s>]+)')


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder], cwd=ROOT, capture_output=True,
        text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return folder


def test_every_page_is_there_and_in_the_menu(site):
    menu = (site / "index.html").read_text(encoding="utf-8")
    for page in pages():
        place = page.relative_to(DOCS).with_suffix(".html").as_posix()
        assert (site / place).exists()
        assert f'href="{place}"' in menu or page.name == "index.md", place


def test_no_page_asks_another_host(site):
    for file in site.rglob("*.html"):
        text = re.sub(r"<link[^>]*rel=\"?(?:canonical|prev|next)[^>]*>", "", file.read_text(encoding="utf-8"))
        assert ASKED.findall(text) == [], file
    for file in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", file.read_text(encoding="utf-8")), file


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("reference/suite.html", ["micro_batch_size", "gradient_checkpointing", "strata"]),
        ("reference/metrics.html", ["test_delta_chosen", "judge_vs_ungated_win_rate"]),
        ("reference/commands.html", ["bench tune", "--hardware DEVICE", "bench init"]),
        ("reference/python.html", ["TRL's DPOConfig with a gate", "PairLogProbs", "SqueezingCallback"]),
        ("papers.html", ["trl:discopop", "2605.02626", "objectives/losses/bdpo.py"]),
    ],
)
def test_what_the_code_says_of_itself_is_on_its_page(site, page, words):
    text = html.unescape((site / page).read_text(encoding="utf-8"))
    assert [word for word in words if word not in text] == []
    assert "<!-- made" not in text
