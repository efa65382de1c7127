"""A Chromium, and pages that are watched."""

from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", *CAMERA])
        yield browser
        browser.close()


class Watched:
    """A page, everything that it asked for, and everything that it complained of."""

    def __init__(self, page: object) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)

    def open(self, url: str) -> object:
        self.page.goto(f"{url}/")
        self.page.wait_for_selector("#choose:enabled")
        return self.page


@pytest.fixture
def watched(browser: object) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    watched = Watched(context.new_page())
    yield watched
    assert watched.complaints == [], "no error, and no violation of the page's own policy"
    context.close()
