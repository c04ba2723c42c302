"""Made-up audits whose answers are known, and what was seen in them."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

from shiftless.auditing.audit import Audit
from shiftless.auditing.compared import compared
from shiftless.auditing.observation import Observation
from shiftless.recipe import Recipe

VOID = {"meta", "img", "source"}


class Checked(HTMLParser):
    """Reads a page, complains about tags that do not match, and keeps the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def audit_of():
    """Make an audit of recipes from means: recipe -> mean headline score, the same spread over photos for all."""

    def make(means: dict[Recipe, float], n: int = 12, noise: float = 0.0, skipped=(), others=("colour",)) -> Audit:
        recipes, baselines = compared(list(means))
        assert len(recipes) == len(means), "name the bare recipes too"
        rng = np.random.default_rng(0)
        hard = np.linspace(0.8, 1.2, n)[:, None] if n > 1 else np.ones((1, 1))
        scores = hard * np.array(list(means.values())) + noise * rng.standard_normal((n, len(means)))
        every = {"latent": scores, **dict.fromkeys(others, 10 * scores)}
        names = [f"photos/{i:02}.jpg" for i in range(n)]
        return Audit("mini", recipes, baselines, names, every, {"colour": np.full(n, 0.7)}, list(skipped))

    return make


@pytest.fixture
def seen_of():
    """Make an observation of one photo H W: each prediction differs from it by a square at (8, 8)."""

    def make(k: int, name: str = "a.jpg", hw=(64, 64), finished: bool = True, shift: float = 20.0) -> Observation:
        kept = np.random.default_rng(3).integers(60, 200, (*hw, 3), dtype=np.uint8)
        where = [np.zeros(hw, np.float32) for _ in range(k)]
        once = [kept.copy() for _ in range(k)]
        for i in range(k):
            where[i][8:16, 8:16] = shift * (i + 1) / k
            once[i][8:16, 8:16] = 255
        scores = {"latent": shift * np.arange(1, k + 1) / k, "colour": np.arange(1.0, k + 1)}
        return Observation(name, kept, kept, once, [kept] * k if finished else [], where, scores, {"colour": 0.7})

    return make


@pytest.fixture(scope="session")
def texts_of():
    """Read a page's texts, one for each stretch between tags; fails if a tag is not closed where it should be."""
    return lambda html: Checked(html).texts
