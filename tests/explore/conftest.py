"""An explorer on tiny photos and a tiny model, and what its page would send."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import shiftless
from shiftless.explore.explorer import Explorer
from shiftless.explore.limits import Limits
from shiftless.presets import Preset
from shiftless.recipe import Recipe
from tests.explore.browsing import RECIPE, Visitor, chromium_or_skip, coloured, served, stored

PLAIN = Recipe(timestep=20, taps=("up1",), size=64)
SMALL = PLAIN.but(taps=("up2",))
BUCKET = (SMALL, SMALL.but(seed=1), SMALL.but(taps=("up0",), joined=True))
LIMITS = Limits(upload_bytes=20_000, upload_pixels=10_000, json_bytes=100_000, zip_bytes=200_000, photos=8)
HALF = 40  # where the colour of a two-coloured photo changes


def two_coloured(seed: int, flip: bool = False) -> np.ndarray:
    """A photo of 64 x 48 pixels: blue to the left of x = 40, yellow to the right of it; or the other way round."""
    noise = np.random.default_rng(seed).integers(0, 40, (48, 64, 3))
    left = (np.arange(64) < HALF)[None, :, None] != flip
    return (np.where(left, (20, 40, 180), (210, 200, 30)) + noise).astype(np.uint8)


@pytest.fixture(scope="session")
def model():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Three photos, one in a folder of its own; a secret beside the folder, and a link to it inside."""
    top = tmp_path_factory.mktemp("explore")
    (top / "photos/inner").mkdir(parents=True)
    Image.fromarray(two_coloured(9)).save(top / "secret.png")
    for name, seed, flip in (("a.png", 0, False), ("b.png", 1, True), ("inner/c.png", 2, False)):
        Image.fromarray(two_coloured(seed, flip)).save(top / "photos" / name)
    (top / "photos/link.png").symlink_to(top / "secret.png")
    return top / "photos"


def made_of(model, folder) -> Explorer:
    presets = [Preset("plain", "", (PLAIN,), ""), Preset("bucket", "", BUCKET, "")]
    return Explorer.of(model, [folder], presets, limits=LIMITS, note="a twin")


def by_http(explorer: Explorer) -> SimpleNamespace:
    """An explorer's app, as one tab (`get`, `post`) and as others: `tab(name)` is a client."""
    pytest.importorskip("fastapi", reason='needs the extra "app", which `make venv` installs')
    from starlette.testclient import TestClient

    from shiftless.explore.app import create_app

    app = create_app(explorer)

    def tab(name: str = "tab-0000"):
        return TestClient(app, base_url="http://127.0.0.1:8765", headers={"X-Shiftless-Client": name})

    return SimpleNamespace(app=app, explorer=explorer, tab=tab, get=tab().get, post=tab().post)


@pytest.fixture
def explorer(model, folder):
    """One with nothing in memory yet; columns: a recipe, and a bucket of three readings."""
    made = made_of(model, folder)
    yield made
    made.close()


@pytest.fixture
def web(explorer):
    """Its app by HTTP."""
    return by_http(explorer)


@pytest.fixture(scope="session")
def shared(model, folder):
    """The same for requests that change nothing."""
    made = made_of(model, folder)
    yield by_http(made)
    made.close()


@pytest.fixture
def trained(folder):
    """One with the embedded model, whose features know the colours of a photo; random weights lose them."""
    mini = shiftless.load("mini", device="cpu", dtype="fp32")
    made = Explorer.of(mini, [folder], [Preset("mini", "", (Recipe(timestep=20, taps=("up1",), size=128),), "")])
    yield by_http(made)
    made.close()


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; tests that need it are skipped where there is none."""
    path = chromium_or_skip()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def explored(tmp_path_factory, browser):
    """One on three coloured photos, by the embedded model, that searches a store of four."""
    folder = tmp_path_factory.mktemp("browser")
    for name, seed, flip in (("a", 0, False), ("b", 1, True), ("c", 2, False)):
        Image.fromarray(coloured(seed, flip)).save(folder / f"{name}.png")
    model = shiftless.load("mini", device="cpu", dtype="fp32")
    store = stored(model, tmp_path_factory.mktemp("searched"))
    made = Explorer.of(model, [folder], [Preset("plain", "", (RECIPE,), "")], store=store)
    yield made
    made.close()


@pytest.fixture(scope="module")
def where(explored):
    """The address at which it is served."""
    with served(explored) as address:
        yield address


@pytest.fixture
def visit(browser, where):
    """Opens pages; when the test ends, none may have complained or asked another host."""
    visitors = []

    def opened(tab: str = "match", **context):
        visitors.append(Visitor(browser, where, tab, **context))
        return visitors[-1]

    yield opened
    for one in visitors:
        one.leave()
