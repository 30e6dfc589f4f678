"""Debian's Chromium by Playwright, for the tests that look at pages."""

from __future__ import annotations

from contextlib import contextmanager

from tests.needs import CHROMIUM


@contextmanager
def page(**context):
    """A page and the list of errors that it has put on its console."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        found = browser.new_context(**context).new_page()
        errors: list[str] = []
        found.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        found.on("pageerror", lambda error: errors.append(str(error)))
        yield found, errors
        browser.close()
