"""Search in the explorer: its hits are those of SearchIndex, and no path leaves the machine."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import shiftless
from shiftless.errors import BadInput
from shiftless.explore.explorer import Explorer
from shiftless.explore.partsearch import StoreSearch
from shiftless.image import open_photo
from shiftless.presets import Preset
from shiftless.searching import SearchIndex
from shiftless.store.featurestore import FeatureStore
from shiftless.store.writer import StoreWriter
from tests.explore.conftest import LIMITS, PLAIN, by_http, two_coloured

pytest.importorskip("zarr", reason='needs the extra "store", which `make venv` installs')


@pytest.fixture(scope="module")
def store(model, tmp_path_factory):
    """A store of four photos on disk, the first of which is the explorer's first one."""
    folder = tmp_path_factory.mktemp("store")
    with StoreWriter(folder / "feats.zarr", model, [PLAIN]) as writer:
        for seed in range(4):
            path = folder / f"{seed}.png"
            Image.fromarray(two_coloured(seed, seed % 2 == 1)).save(path)
            photo = open_photo(path)
            if writer.claim(photo):
                writer.write(shiftless.extract(model, photo, [PLAIN]))
    return folder / "feats.zarr"


@pytest.fixture
def web(model, folder, store):
    made = Explorer.of(model, [folder], [Preset("plain", "", (PLAIN,), "")], limits=LIMITS, store=str(store))
    yield by_http(made)
    made.close()


@pytest.mark.parametrize("part", [{"point": [10.5, 20.5]}, {"region": [4, 8, 30, 40]}])
def test_hits_are_those_of_the_search_index(web, model, folder, store, part):
    answer = web.post("/api/search", json={"photo": 0, "top": 3, **part})
    assert answer.status_code == 200, answer.text
    query = open_photo(folder / "a.png")
    named = {"at": part.get("point"), "region": part.get("region")}
    index = SearchIndex(FeatureStore(store), engine="torch")
    expected = index.search(shiftless.extract(model, query, PLAIN), top=3, without=query.digest, **named)
    hits = answer.json()["hits"]
    assert [hit["number"] for hit in hits] == [hit.number for hit in expected]
    assert len(hits) == 3
    for hit, one in zip(hits, expected):
        np.testing.assert_allclose(hit["point"], one.point, atol=1e-3)
        assert hit["score"] == pytest.approx(one.score, abs=1e-5)
        assert hit["photo"] == f"{hit['number']}.png"  # no folder
    picture = web.get(f"/api/search/{hits[0]['number']}/picture")
    assert picture.headers["x-photo-width"] == "64"
    seed = hits[0]["number"]
    shown = np.array(Image.open(io.BytesIO(picture.content)))
    np.testing.assert_array_equal(shown, two_coloured(seed, seed % 2 == 1))


@pytest.mark.parametrize(
    "asked",
    [{}, {"point": [1, 2], "region": [1, 2, 3, 4]}, {"point": [1]}, {"region": [1, 2, "3", 4]}, {"point": [500, 2]}],
)
def test_a_part_that_is_none_is_told_in_one_line(web, asked):
    answer = web.post("/api/search", json={"photo": 0, **asked})
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]


def test_a_photo_that_changed_or_went_is_not_shown(web, store):
    path = store.parent / "3.png"
    content = path.read_bytes()
    try:
        Image.fromarray(two_coloured(77)).save(path)
        assert "3.png: its file has changed" in web.get("/api/search/3/picture").json()["error"]
        path.unlink()
        error = web.get("/api/search/3/picture").json()["error"]
        assert error.startswith("3.png: its file is not where it was read")
        assert str(store.parent) not in error
    finally:
        path.write_bytes(content)
    for number in ("4", "-1"):
        assert web.get(f"/api/search/{number}/picture").status_code == 400


def test_a_store_by_other_weights_is_refused_before_anything_is_served(store):
    other = shiftless.load("mini", device="cpu", dtype="fp32")
    with pytest.raises(BadInput, match="was read with other weights"):
        StoreSearch(other, store, 1 << 20)


def test_without_a_store_search_says_how_to_give_one(shared):
    assert shared.get("/api/state").json()["store"] is None
    answer = shared.post("/api/search", json={"photo": 0, "point": [1, 1]})
    assert (answer.status_code, "--store" in answer.json()["error"]) == (400, True)
