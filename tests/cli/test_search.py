"""`shiftless search`: a part is found across a store, shown on a page, and written as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import shiftless
from shiftless.image import open_photo
from shiftless.store.writer import StoreWriter


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture
def stored(model, tmp_path):
    """Three pictures of 64 x 64 pixels, their store, and a fourth picture: the third one moved by a cell."""
    pixels = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(3)]
    for i, array in enumerate([*pixels, np.roll(pixels[2], 16, 1)]):
        Image.fromarray(array).save(tmp_path / f"{i}.png")
    recipe = shiftless.Recipe(taps=("up1",), size=64, prompt="a {category}")
    with StoreWriter(tmp_path / "a.zarr", model, [recipe], fill={"category": "cow"}) as writer:
        for i in range(3):
            photo = open_photo(tmp_path / f"{i}.png", f"{i}.png")
            writer.claim(photo)
            writer.write(shiftless.extract(model, photo, [recipe], fill={"category": "cow"}))
    return tmp_path


def test_a_part_is_found_in_every_photo_but_its_own(command, stored):
    options = ("--photo", "1.png", "--fill", "category=cow", "--json", "hits.json", "-q")
    code, out, err = command("search", "a.zarr", *options, "--at", "40,24")
    assert (code, err) == (0, "")
    answer = json.loads(Path("hits.json").read_text())
    assert sorted(hit["photo"] for hit in answer["hits"]) == ["0.png", "2.png"]
    assert all(f"{hit['cosine']:.3f}" in out for hit in answer["hits"])
    page = Path("search/index.html").read_text()
    assert page.index(answer["hits"][0]["photo"]) < page.index(answer["hits"][1]["photo"])
    assert {path.name for path in Path("search").iterdir()} == {"index.html", "hits.png", "hits-dark.png"}
    command("search", "a.zarr", *options, "--region", "33,17,47,31", "--flip", "--itself", "--refine", "cell")
    first = json.loads(Path("hits.json").read_text())["hits"][0]
    assert (first["photo"], first["point"]) == ("1.png", [40.0, 24.0])
    assert first["cosine"] == pytest.approx(1, abs=1e-3)  # the store is in fp16


def test_a_photo_that_is_gone_or_another_one_is_a_grey_tile(command, stored):
    (stored / "0.png").unlink()
    Image.new("RGB", (64, 64)).save(stored / "2.png")
    code, _, _ = command(
        "search", "a.zarr", "-p", "3.png", "--at", "9,9", "--fill", "category=cow", "--engine", "torch"
    )
    assert code == 0
    picture = np.asarray(Image.open("search/hits.png"))
    assert (picture == (128, 132, 140)).all(2).sum() > 2 * 190 * 190


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--at", "9,9"), "{category}"),
        ((), "give one of --at X,Y and --region X0,Y0,X1,Y1"),
        (("--at", "9"), "give a point as X,Y"),
        (("--at", "99,9", "--fill", "category=cow"), "outside the image"),
        (("--at", "9,9", "--fill", "category=cow", "--taps", "up0"), "no tap 'up0'"),
        (("--at", "9,9", "--fill", "category=cow", "-m", "twin:sd21"), "was read with other weights"),
        (("--at", "9,9", "--group", "512x512"), "no group '512x512'"),
    ],
)
def test_bad_input_is_one_line(command, stored, given, message):
    code, out, err = command("search", "a.zarr", "--photo", "3.png", *given, "-q")
    assert (code, out, message in err, len(err.splitlines())) == (2, "", True, 1)
    assert not Path("search").exists()
