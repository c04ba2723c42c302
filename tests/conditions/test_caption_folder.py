"""A photo's caption lies where the photo does, and no photo ever gets another's."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from shiftless import BadInput
from shiftless.conditions.caption_folder import CaptionFolder, caption_files


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """ph/1.png, ph/sub/1.png and ph/sub/2.png, in the folder where the test runs."""
    monkeypatch.chdir(tmp_path)
    for name in ("ph/1.png", "ph/sub/1.png", "ph/sub/2.png"):
        os.makedirs(os.path.dirname(name), exist_ok=True)
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(name)
    return tmp_path


def write(folder, **captions):
    for name, text in captions.items():
        file = folder / f"{name.replace('__', '/')}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")
    return folder


def test_each_photo_has_its_own(photos):
    words = write(photos / "words", **{"1": "a white horse", "sub__1": "a cow", "sub__2": "a bus"})
    for place in ("ph", "./ph", str(photos / "ph"), "ph/"):
        folder = CaptionFolder(words, places=[place])
        files = caption_files([place], words)
        assert [folder.read(photo) for photo in sorted(files)] == ["a white horse", "a cow", "a bus"]


def test_what_is_missing_is_told_with_its_place(photos):
    words = write(photos / "words", **{"1": "a white horse"})
    folder = CaptionFolder(words, places=["ph"])
    assert folder.read("ph/1.png") == "a white horse"
    with pytest.raises(BadInput, match=r"ph/sub/1\.png: no caption at .*words/sub/1\.txt"):
        folder.read("ph/sub/1.png")
    (words / "sub").mkdir()
    (words / "sub" / "1.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BadInput, match="no caption at"):
        folder.read("ph/sub/1.png")


def test_captions_of_a_folder_above_are_not_taken_for_those_of_a_folder_inside(photos):
    """Captioned as `ph`, read as `ph/sub` or picture by picture: words/1.txt is the caption of ph/1.png."""
    words = write(photos / "words", **{"1": "a white horse", "sub__1": "a cow"})
    for places in (["ph/sub"], ["ph/sub/1.png"]):
        folder = CaptionFolder(words, places=places)
        with pytest.raises(BadInput, match=r"words/1\.txt and .*words/sub/1\.txt could both be its caption"):
            folder.read("ph/sub/1.png")
    assert CaptionFolder(words / "sub", places=["ph/sub"]).read("ph/sub/1.png") == "a cow"


def test_a_folder_that_holds_one_of_its_own_name(photos):
    """ph/sub/sub/1.png claims words/sub/1.txt, so that it cannot be meant for ph/sub/1.png."""
    os.makedirs("ph/sub/sub")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save("ph/sub/sub/1.png")
    words = write(photos / "words", **{"1": "a cow", "2": "a bus", "sub__1": "a van"})
    folder = CaptionFolder(words, places=["ph/sub"])
    assert [folder.read(f"ph/sub/{name}.png") for name in ("1", "2", "sub/1")] == ["a cow", "a bus", "a van"]


def test_two_photos_never_share_a_caption(photos):
    os.makedirs("words")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save("ph/1.jpg")
    with pytest.raises(BadInput, match=r"ph/1\.png: its caption and that of ph/1\.jpg would both be words/1\.txt"):
        CaptionFolder("words", places=["ph"])
    os.remove("ph/1.jpg")
    with pytest.raises(BadInput, match="would both be"):
        CaptionFolder("words", places=["ph/1.png", "ph/sub/1.png"])
    assert len(caption_files(["ph", "ph/sub"], photos)) == 3  # one place inside another names no photo twice


def test_photos_without_places_lie_below_the_folder_that_holds_them_all(photos):
    words = write(photos / "words", **{"1": "a white horse", "sub__1": "a cow"})
    folder = CaptionFolder(words, photos=["ph/1.png", str(photos / "ph" / "sub" / "1.png")])
    assert folder.read("ph/1.png") == "a white horse"
    assert folder.read(str(photos / "ph" / "sub" / "1.png")) == "a cow"
