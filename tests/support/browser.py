"""A real Chromium for tests: Debian's, driven by Playwright, which needs no download then."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect, sync_playwright

from tests.support.processes import ROOT, need

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

ARGUMENTS = [
    "--no-sandbox",  # tests may run as root, under which Chromium has none
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}

_PATIENCE = 30_000
"""Milliseconds, on a busy machine; an expectation has 5 s of its own."""

expect.set_options(timeout=_PATIENCE)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a Chromium, and end it."""
    program = need("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def a_page(browser: Browser, *, hostile: bool = False, **context: Any) -> Iterator[Page]:
    """Open a page in a context of its own. Unless it is hostile, it has no error and asks no foreign host."""
    made = browser.new_context(**({"viewport": DESKTOP} | context))
    made.set_default_timeout(_PATIENCE)
    page, wrong = made.new_page(), list[str]()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
    page.on("request", lambda asked: None if "//127.0.0.1:" in asked.url else wrong.append(asked.url))
    try:
        yield page
        assert hostile or not wrong, wrong
    finally:
        made.close()


def shoot(page: Page, name: str) -> None:
    """Take a picture for the documents, if asked for: FEEDBACK_SCREENSHOTS=1."""
    if os.environ.get("FEEDBACK_SCREENSHOTS"):
        page.screenshot(path=ROOT / "docs" / "images" / f"{name}.png")
