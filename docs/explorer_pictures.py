"""Take the five pictures of docs/explorer.md: python docs/explorer_pictures.py [--out FOLDER] [--real PHOTO PHOTO]

It draws four horses and a store of 24 other pictures from seeds that nothing was trained on, and starts `shiftless
explore` with the embedded model and four recipes. In a headless Chromium (`make browser`, `pip install playwright`) it
then does what a person would: a click in Match, another tap in Look, a measurement in Audit, strokes in Label, a box in
Search. With --real your photos take the horses' place. They are pointed at in their middle; the store holds them too.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from miniworld.datasets import SEEDS
from miniworld.tables.methods import METHODS, recipes_of
from miniworld.world.picture import Picture, draw, keypoint_names
from shiftless.errors import BadInput
from shiftless.image import open_photo
from shiftless.recipe import recipes_to_toml

HERE = Path(__file__).parent
NAMES = ("match", "look", "audit", "label", "search")
RECIPES = {
    "bare": "baseline, convolutional",
    "captions": "+ fine prompts, convolutional",
    "edges": "+ ControlNet, convolutional",
    "gate": "plain mean of GATE's readings",
}
"""Columns of the explorer, by the names of their rows in `miniworld.tables.methods`."""
TAPS = ("up0", "up1")
SIDE, HORSES, STORED = 384, 4, 24  # pixels of a drawn picture; how many are explored, and how many more are searched
WIDE, HIGH, DENSITY = 1600, 700, 0.75  # the window in CSS pixels, and how many pixels of a picture each becomes
LARGEST = 250_000  # bytes of a picture
LONGEST = 600_000  # milliseconds that the page may take for anything
Point = tuple[float, float]


@dataclass(frozen=True)
class Subject:
    """What is pointed at in the first photo, in its own pixels.

    point    clicked in Match
    box      x0, y0, x1, y1, dragged in Search
    strokes  painted in Label: class (0 background, 1 thing), start and end of each
    """

    point: Point
    box: tuple[float, float, float, float]
    strokes: tuple[tuple[int, Point, Point], ...]


def horse(number: int) -> Picture:
    """Draw one of the horses that are explored."""
    return draw(SEEDS["shown"].start + number, size=SIDE, kind="horse")


def subject_of(picture: Picture) -> Subject:
    """Point at a drawn creature by its own keypoints: its eye, its head, its body and neck."""
    at = dict(zip(keypoint_names(picture.kind), picture.keypoints.tolist()))
    head = [at[name] for name in ("nose", "mouth", "eye", "ear", "poll")]
    edge = SIDE / 50  # keypoints lie within what they name
    box = [pick(one[axis] for one in head) + way * edge for pick, way in ((min, -1), (max, 1)) for axis in (0, 1)]
    ends = ("back", "chest"), ("rump", "belly"), ("poll", "throat"), ("withers", "chest")
    front, rear, top, base = (_between(at[a], at[b]) for a, b in ends)
    strokes = (*_edges(SIDE, SIDE), (1, front, rear), (1, top, base))
    return Subject(tuple(at["eye"]), tuple(box), strokes)


def _between(a: Sequence[float], b: Sequence[float]) -> Point:
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2


def middle_of(width: int, height: int) -> Subject:
    """Point at the middle of a photo of which nothing is known."""
    box = (0.35 * width, 0.35 * height, 0.65 * width, 0.65 * height)
    across = (1, (0.4 * width, 0.5 * height), (0.6 * width, 0.5 * height))
    return Subject((0.5 * width, 0.5 * height), box, (*_edges(width, height), across))


def _edges(width: float, height: float) -> tuple[tuple[int, Point, Point], ...]:
    """Strokes of background along the four edges of a photo."""
    low, high = 0.03, 0.97
    ends = (
        ((low, low), (high, low)),
        ((low, high), (high, high)),
        ((low, low), (low, high)),
        ((high, low), (high, high)),
    )
    return tuple((0, (width * x0, height * y0), (width * x1, height * y1)) for (x0, y0), (x1, y1) in ends)


def write_recipes(folder: Path) -> list[str]:
    """Write a recipe file for each column of the explorer, and return their names."""
    rows = {method.name: method for method in METHODS}
    for name, row in RECIPES.items():
        recipes = [recipe.but(taps=TAPS) for recipe in recipes_of(rows[row], "photo")]
        (folder / f"{name}.toml").write_text(recipes_to_toml(recipes, row, "mini"), encoding="utf-8")
    return [f"{name}.toml" for name in RECIPES]


def shiftless(*words: str) -> list[str]:
    """Return the command line of `shiftless WORDS`, run by this interpreter."""
    return [sys.executable, "-m", "shiftless", *words]


@contextmanager
def explored(folder: Path, *flags: str) -> Iterator[str]:
    """Run `shiftless explore FLAGS` in a folder for a while: the address that it prints."""
    command = shiftless("explore", *flags, "--port", "0")
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            opened = next((line for line in process.stdout if line.startswith("open ")), None)
            if opened is None:
                raise SystemExit("`shiftless explore` ended before it served")
            yield opened.split()[1]
        finally:
            process.terminate()


def small_png(picture: Image.Image, most: int = LARGEST) -> bytes:
    """Return a picture as PNG with a palette: as many colours, 256 at most, as fit into so many bytes.

    Raises BadInput where eight colours do not.
    """
    for colours in (256, 128, 64, 32, 16, 8):
        out = io.BytesIO()
        picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        if out.tell() <= most:
            return out.getvalue()
    raise BadInput(
        f"a picture of {picture.width} x {picture.height} takes more than {most} bytes; take a smaller window"
    )


class Visitor:
    """A person at the explorer's page, who shows what they did to a camera."""

    def __init__(self, page: Page, out: Path, photos: int) -> None:
        self.page, self.out, self.last = page, out, photos - 1

    def tab(self, name: str) -> None:
        """Open a tab."""
        self.page.get_by_test_id(f"tab-{name}").click()

    def wait(self, testid: str, state: str) -> None:
        """Wait until an element has an attribute, as CSS writes it."""
        self.page.wait_for_selector(f"[data-testid='{testid}'][{state}]")

    def on_screen(self, view: str, point: Point) -> Point:
        """Return where a point of a view's photo lies in the window."""
        canvas = self.page.get_by_test_id(f"{view}-canvas")
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        assert box is not None
        scale, left, top = (float(canvas.get_attribute(f"data-{name}") or 0) for name in ("scale", "left", "top"))
        return box["x"] + left + scale * point[0], box["y"] + top + scale * point[1]

    def drag(self, view: str, start: Point, end: Point) -> None:
        """Drag from a point of a view's photo to another."""
        mouse = self.page.mouse
        mouse.move(*self.on_screen(view, start))
        mouse.down()
        mouse.move(*self.on_screen(view, end), steps=12)
        mouse.up()

    def take(self, name: str) -> None:
        """Save the whole page."""
        self.page.mouse.move(0, 0)
        self.page.wait_for_timeout(300)
        path = self.out / f"explorer-{name}.png"
        path.write_bytes(small_png(Image.open(io.BytesIO(self.page.screenshot(full_page=True)))))
        print(f"written: {path} ({path.stat().st_size / 1000:.0f} kB)", flush=True)

    def match(self, subject: Subject) -> None:
        """Click a point, and wait for its place in the last photo by the last recipe."""
        self.wait("match-view-canvas", "data-scale")
        self.page.mouse.click(*self.on_screen("match-view", subject.point))
        self.wait(f"match-{self.last}-{len(RECIPES) - 1}", "data-point*=','")

    def look(self, subject: Subject) -> None:
        """Choose the finer tap."""
        self.page.get_by_test_id("look-tap").select_option(TAPS[-1])
        self.wait(f"look-{self.last}", f"data-ready='{TAPS[-1]}'")

    def audit(self, subject: Subject) -> None:
        """Measure the shift of all photos, at more noise than features are read at: it is seen better there."""
        self.page.get_by_test_id("audit-timestep").fill("600")
        self.page.get_by_test_id("audit-measure").click()
        self.wait(f"audit-{self.last}", "data-ready")

    def label(self, subject: Subject) -> None:
        """Paint strokes on the first photo, and fit."""
        self.wait("label-view-canvas", "data-scale")
        for label, start, end in subject.strokes:
            self.page.get_by_test_id(f"class-{label}").get_by_role("radio").check()
            self.drag("label-view", start, end)
        self.page.get_by_test_id("fit").click()
        self.wait("label-view", "data-fitted")

    def search(self, subject: Subject) -> None:
        """Drag a box, and wait for the last of twelve hits."""
        self.wait("search-view-canvas", "data-scale")
        self.page.get_by_test_id("search-box").check()
        self.drag("search-view", subject.box[:2], subject.box[2:])
        self.wait("hit-11-canvas", "data-scale")


def pictures(out: Path, photos: Sequence[Path], subject: Subject, browser: str, folder: Path) -> None:
    """Write the store, serve the photos, and take a picture of each tab."""
    (folder / "drawn").mkdir()
    for number in range(STORED):
        image = draw(SEEDS["shown"].start + HORSES + number, size=SIDE).image
        Image.fromarray(image).save(folder / "drawn" / f"drawn-{number:02d}.png")
    recipes = write_recipes(folder)
    paths = [str(path.resolve()) for path in photos]
    read = shiftless("extract", *paths, "drawn", "--model", "mini", "--recipe", recipes[0], "--out", "store.zarr")
    if code := subprocess.run(read, cwd=folder, stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(code)  # it has said why
    flags = [word for recipe in recipes for word in ("--recipe", recipe)]
    with (
        explored(folder, *paths, "--model", "mini", "--store", "store.zarr", *flags) as where,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"]) as opened,
    ):
        page = opened.new_context(viewport={"width": WIDE, "height": HIGH}, device_scale_factor=DENSITY).new_page()
        page.set_default_timeout(LONGEST)
        page.goto(where)
        page.wait_for_selector("body[data-ready=true]")
        visitor = Visitor(page, out, len(photos))
        for name in NAMES:
            visitor.tab(name)
            getattr(visitor, name)(subject)
            visitor.take(name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Take all five."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=HERE, help="folder for the pictures, by default that of this script"
    )
    parser.add_argument(
        "--real", type=Path, nargs="+", metavar="PHOTO", help="two photos or more of your own, up to four"
    )
    args = parser.parse_args(arguments)
    if args.real and args.out.resolve() == HERE.resolve():
        parser.error("the pictures in docs/ show drawn photos alone: with --real give --out FOLDER")
    if args.real and not 2 <= len(args.real) <= 4:
        parser.error(f"--real: {len(args.real)} photos; give two to four, which the page shows at first")
    browser = which("chromium") or which("google-chrome")
    if browser is None:
        parser.error("no Chromium on the path: make browser")
    try:
        subject = middle_of(*open_photo(args.real[0]).hw[::-1]) if args.real else subject_of(horse(0))
    except BadInput as error:
        parser.error(str(error))
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        photos = args.real or [Path(made) / f"horse-{number}.png" for number in range(HORSES)]
        if not args.real:
            for number, path in enumerate(photos):
                Image.fromarray(horse(number).image).save(path)
        pictures(args.out, photos, subject, browser, Path(made))


if __name__ == "__main__":
    main()
