"""The script that takes the explorer's pictures: what it points at, the recipes it writes, and what it refuses."""

from __future__ import annotations

import importlib.util
import io
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from miniworld.world.labels import PARTS
from shiftless.errors import BadInput
from shiftless.presets import preset_or_file

SCRIPT = Path(__file__).parents[1] / "docs" / "explorer_pictures.py"


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("playwright", reason="needs Playwright: pip install playwright")
    spec = importlib.util.spec_from_file_location("explorer_pictures", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def along(start, end, n=50):
    """Rows and columns of the pixels at n places from start to end."""
    x, y = (np.linspace(a, b, n).astype(int) for a, b in zip(start, end))
    return y, x


def test_it_points_at_the_drawn_horse_s_own_parts(script):
    picture = script.horse(0)
    subject = script.subject_of(picture)
    x, y = (int(one) for one in subject.point)
    assert PARTS[picture.parts[y, x]] == "eye"
    x0, y0, x1, y1 = (int(one) for one in subject.box)
    inside = picture.parts[y0:y1, x0:x1]
    muzzle = picture.parts == PARTS.index("muzzle")
    assert (inside == PARTS.index("muzzle")).sum() > 0.8 * muzzle.sum()
    assert not (inside == PARTS.index("barrel")).any()
    painted = [(label, picture.parts[along(start, end)]) for label, start, end in subject.strokes]
    assert [label for label, _ in painted] == [0, 0, 0, 0, 1, 1]
    for label, parts in painted:
        assert ((parts != PARTS.index("background")) == bool(label)).mean() > 0.95


def test_of_a_photo_it_points_at_the_middle(script):
    subject = script.middle_of(300, 200)
    assert subject.point == (150, 100)
    assert subject.box == pytest.approx((105, 70, 195, 130))
    assert all(0 < x < 300 and 0 < y < 200 for _, *ends in subject.strokes for x, y in ends)


def test_its_recipes_are_a_column_each_and_steer_as_their_names_say(script, tmp_path):
    bare, captions, edges, gate = (
        preset_or_file(str(tmp_path / name)).recipes for name in script.write_recipes(tmp_path)
    )
    assert [len(one) for one in (bare, captions, edges, gate)] == [1, 1, 1, 6]
    assert (bare[0].control, bare[0].lora, captions[0].prompt, edges[0].control) == ((), (), "auto", ("canny",))
    assert {one.taps for one in (*bare, *captions, *edges, *gate)} == {script.TAPS}  # so that columns are comparable


def test_pictures_are_as_small_as_a_page_wants_them(script):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    whole = script.small_png(noise)
    smaller = script.small_png(noise, most=len(whole) - 1)
    assert len(smaller) < len(whole)
    opened = Image.open(io.BytesIO(smaller))
    assert (opened.format, opened.size) == ("PNG", (80, 60))
    assert len(opened.getcolors()) < len(Image.open(io.BytesIO(whole)).getcolors())
    with pytest.raises(BadInput, match="takes more than 50 bytes"):
        script.small_png(noise, most=50)


def test_the_served_address_is_what_the_command_prints_and_the_command_ends(script, tmp_path, monkeypatch):
    code = "import sys, time; print('left out: a.txt'); print(sys.argv[1]); sys.stdout.flush(); time.sleep(600)"
    monkeypatch.setattr(script, "shiftless", lambda *words: [sys.executable, "-c", code, "open http://h:1/   (Ctrl-C)"])
    began = time.monotonic()
    with script.explored(tmp_path, "a.png") as where:
        assert where == "http://h:1/"
    assert time.monotonic() - began < 500  # it was not waited for
    monkeypatch.setattr(script, "shiftless", lambda *words: [sys.executable, "-c", "print('no photo')"])
    with pytest.raises(SystemExit, match="ended before it served"), script.explored(tmp_path):
        pass


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--real", "a.jpg", "b.jpg"], "with --real give --out FOLDER"),
        (["--real", "a.jpg", "--out", "made"], "--real: 1 photos"),
        (["--real", "a.jpg", "b.jpg", "--out", "made"], "a.jpg"),
    ],
)
def test_real_photos_stay_out_of_the_documents(script, words, fault, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(script, "which", lambda name: name)
    with pytest.raises(SystemExit) as stopped:
        script.main(words)
    assert stopped.value.code == 2
    assert fault in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
