"""`shiftless caption`, as a user runs it."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from shiftless.conditions import caption
from shiftless.conditions.caption_memory import spoken
from shiftless.errors import BadInput


class Painter:
    """Names a photo's strongest colour; has nothing to say about gray."""

    name, fingerprint = "painter", "painter1"

    def caption(self, photos):
        result = []
        for photo in photos:
            colour = photo.array.reshape(-1, 3).mean(0)
            word = "" if np.ptp(colour) < 1 else f"a {('red', 'green', 'blue')[int(colour.argmax())]} picture"
            result.append(spoken(word, self.name, photo.name))
        return result


@pytest.fixture
def command(command, monkeypatch, tmp_path):
    monkeypatch.setenv("SHIFTLESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(caption, "load_captioner", lambda name, **_: Painter() if name == "painter" else 1 / 0)
    return partial(command, "caption")


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos" / "more").mkdir(parents=True)
    Image.new("RGB", (20, 16), (200, 10, 10)).save(tmp_path / "photos" / "a.png")
    Image.new("RGB", (20, 16), (10, 10, 200)).save(tmp_path / "photos" / "more" / "b.jpg")
    return tmp_path / "photos"


def test_it_prints_file_and_caption(command, photos):
    code, out, err = command("photos", "--captioner", "painter")
    assert (code, err.splitlines()) == (0, ["captioning 2 photos"])
    assert out.splitlines() == ["photos/a.png: a red picture", "photos/more/b.jpg: a blue picture"]


def test_it_writes_a_file_a_photo_and_json(command, photos, tmp_path):
    code, out, err = command("photos", "-c", "painter", "--out", "said", "--json", "said.json")
    assert (code, out) == (0, "")
    assert "2 captions written into said" in err
    assert (tmp_path / "said" / "a.txt").read_text() == "a red picture\n"
    assert (tmp_path / "said" / "more" / "b.txt").read_text() == "a blue picture\n"
    assert json.loads((tmp_path / "said.json").read_text())["photos/a.png"] == "a red picture"


def test_what_fails_is_listed_and_the_rest_goes_on(command, photos):
    (photos / "broken.png").write_bytes(b"not a picture")
    Image.new("RGB", (20, 16), (90, 90, 90)).save(photos / "gray.png")
    code, out, err = command("photos", "-c", "painter")
    assert code == 2
    assert len(out.splitlines()) == 2
    lines = [line for line in err.splitlines() if "error" in line]
    assert len(lines) == 2
    assert "broken.png" in lines[0]
    assert "gray.png: captioner painter says nothing" in lines[1]


def test_two_photos_never_share_a_file(command, photos):
    Image.new("RGB", (20, 16), (10, 200, 10)).save(photos / "a.bmp")
    code, out, err = command("photos", "-c", "painter", "--out", "said")
    assert (code, out) == (2, "")
    assert "a.png: its caption and that of photos/a.bmp would both be" in err
    assert not (photos.parent / "said").exists()
    assert command("photos", "-c", "painter")[0] == 0  # printed, they can


def test_help_teaches(command):
    code, out, _ = command("--help")
    assert code == 0
    for word in ("--captioner", "blip", "--out", "--json", "SHIFTLESS_CACHE", "Example"):
        assert word in out


def test_a_captioner_that_is_not_there_is_one_line(command, photos, monkeypatch):
    def missing(name, **_):
        raise BadInput(f"{name}: not on this machine")

    monkeypatch.setattr(caption, "load_captioner", missing)
    code, out, err = command("photos", "-c", "blip")
    assert (code, out) == (2, "")
    assert [line for line in err.splitlines() if line] == ["error: blip: not on this machine"]
