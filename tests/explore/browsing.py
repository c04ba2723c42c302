"""A headless Chromium that opens a running explorer, and what a person would do with it."""

from __future__ import annotations

import io
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WHOLE_TIME = 60_000  # milliseconds that a page may take for anything


def chromium_or_skip() -> str:
    """Return the path of an installed browser; skip the test where there is none, or no Playwright to drive it."""
    pytest.importorskip("playwright", reason="needs Playwright: pip install playwright")
    pytest.importorskip("uvicorn", reason='needs the extra "app", which `make venv` installs')
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("needs Chromium: `make browser` as root, or apt-get install chromium")
    return found


@contextmanager
def served(explorer: Any) -> Iterator[str]:
    """Serve an explorer on a free port of this machine for a while: its address."""
    import uvicorn

    from shiftless.explore.app import create_app
    from shiftless.explore.serve import address, bound

    with bound("127.0.0.1", 0) as opened:
        server = uvicorn.Server(uvicorn.Config(create_app(explorer), log_level="error", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield address("127.0.0.1", opened.getsockname()[1])
        server.should_exit = True
        thread.join(timeout=10)


class Visitor:
    """A person at a page of the explorer; `requests` and `complaints` are what the browser logged."""

    def __init__(self, browser: Any, where: str, tab: str = "match", **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1200, "height": 1000}, **context})
        self.context.set_default_timeout(WHOLE_TIME)
        self.page = self.context.new_page()
        self.where = where
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)
        self.page.goto(f"{where}#{tab}")
        self.page.wait_for_selector("body[data-ready=true]")

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def leave(self) -> None:
        """Close the page, and check that it complained of nothing and asked nobody else."""
        self.context.close()
        assert self.complaints == [], self.complaints
        assert len(self.requests) > 5
        assert [one for one in self.requests if not one.startswith((self.where, f"blob:{self.where}", "data:"))] == []

    def at(self, testid: str) -> Any:
        return self.page.get_by_test_id(testid)

    def photo(self, number: int) -> None:
        """Choose a photo in the strip."""
        self.at(f"photo-{number}").get_by_role("button").click()

    def to_screen(self, view: str, x: float, y: float) -> tuple[float, float]:
        """Where a place of the photo that a view shows lies in the window, from how far the view is zoomed."""
        canvas = self.at(f"{view}-canvas")
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        scale, left, top = (float(canvas.get_attribute(f"data-{one}")) for one in ("scale", "left", "top"))
        return box["x"] + left + x * scale, box["y"] + top + y * scale

    def shown(self, view: str) -> None:
        """Wait until a view has drawn its photo."""
        self.page.wait_for_selector(f"[data-testid={view}-canvas][data-scale]")

    def until(self, script: str, given: Any = None) -> None:
        """Wait until a JavaScript function of `given` is true; the page's policy refuses Playwright's own wait."""
        end = time.monotonic() + WHOLE_TIME / 1000
        while not self.page.evaluate(script, given):
            assert time.monotonic() < end, f"never true: {script}"
            self.page.wait_for_timeout(20)

    def said(self, words: str) -> None:
        """Wait until the page's status line holds some words."""
        self.until("words => document.getElementById('status').textContent.includes(words)", words)

    def point(self, view: str) -> tuple[float, float]:
        """The point that a view says it shows, in pixels of its photo."""
        figure = self.page.wait_for_selector(f"[data-testid={view}][data-point*=',']")
        x, y = figure.get_attribute("data-point").split(",")
        return float(x), float(y)

    def stroke(self, view: str, *points: tuple[float, float]) -> None:
        """Paint with the mouse, from point to point of the photo."""
        mouse = self.page.mouse
        places = [self.to_screen(view, *point) for point in points]
        mouse.move(*places[0])
        mouse.down()
        for place in places[1:]:
            mouse.move(*place, steps=4)
        mouse.up()

    def wide(self) -> int:
        """How wide the page is, with what reaches out of the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))


def contrast(first: str, second: str) -> float:
    """The contrast of two colours "rgb(r, g, b)" by WCAG 2.1, 1 to 21."""

    def light(colour: str) -> float:
        parts = [int(one) / 255 for one in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
        return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear))

    low, high = sorted((light(first), light(second)))
    return (high + 0.05) / (low + 0.05)


def png_of(pixels: np.ndarray) -> bytes:
    """Give H W 3 uint8 as the bytes of a PNG file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
