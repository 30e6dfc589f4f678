"""Every block of the documentation, run or at least parsed (pages.py)."""

from __future__ import annotations

import gc

import pytest

from tests.docs.pages import DOCS, Reader, blocks, pages

pytestmark = pytest.mark.slow
SHOWN = [page for page in pages() if blocks(page)]


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_page_does_what_it_shows(page, tmp_path, model_paths, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reader = Reader(tmp_path, model_paths["llama"])
    for block in blocks(page):
        try:
            reader.follow(block)
        except BaseException as error:
            error.add_note(f"{page.relative_to(DOCS)}, line {block.line}")
            raise
    gc.collect()


def test_what_is_not_run_says_why():
    told = [block.why for page in SHOWN for block in blocks(page) if block.why]
    assert told
    assert all(len(why.split()) > 1 for why in told)
