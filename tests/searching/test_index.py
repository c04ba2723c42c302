"""A search of a store finds what comparing each photo's map by `shiftless.match` finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import shiftless
from shiftless.errors import BadInput
from shiftless.header import Origin
from shiftless.image import open_photo
from shiftless.searching import SearchIndex
from shiftless.store.pool import pooled
from shiftless.store.writer import StoreWriter

RECIPE = shiftless.Recipe(taps=("up1", "up2"), size=128, seed=2)


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def pictures():
    """Ten photos, every third one wide, so that their maps have two sizes."""
    drawn = [np.random.default_rng(i).integers(0, 256, (128, 128, 3), dtype=np.uint8) for i in range(10)]
    return [open_photo(array[: 128 if i % 3 else 64], f"{i}.png") for i, array in enumerate(drawn)]


@pytest.fixture(scope="module")
def readings(model, pictures):
    return shiftless.extract(model, pictures, [RECIPE])


@pytest.fixture(scope="module")
def store(model, pictures, readings, tmp_path_factory):
    target = tmp_path_factory.mktemp("search") / "a.zarr"
    with StoreWriter(target, model, [RECIPE], dtype="fp32") as writer:
        for photo, bucket in zip(pictures, readings):
            assert writer.claim(photo)
            writer.write(bucket)
    return shiftless.FeatureStore(target)


@pytest.mark.parametrize("engine", ["torch", "faiss"])
def test_each_photo_has_the_hit_that_match_finds_in_it(store, readings, engine):
    if engine == "faiss":
        pytest.importorskip("faiss", reason='needs the extra "search"')
    index, query = SearchIndex(store, engine=engine), readings[4][0]  # asked within a cell: at its edge two are alike
    for refine in ("cell", "soft"):
        hits = index.search(query, at=(20, 42), top=99, refine=refine)
        assert sorted(hit.number for hit in hits) == list(range(10))
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        for hit in hits:
            expected = shiftless.match(query, readings[hit.number][0], [(20, 42)], refine=refine)
            np.testing.assert_allclose(hit.point, expected.points[0], atol=1e-4)
            assert hit.score == pytest.approx(expected.scores[0], abs=1e-5)
            assert (hit.photo, hit.digest) == (store.photos[hit.number], store.digests[hit.number])
    assert index.search(query, at=(20, 42), top=3) == hits[:3]


def test_a_photo_is_left_out_by_its_digest(store, readings, pictures):
    index = SearchIndex(store, engine="torch", keep=False)
    hits = index.search(readings[4][0], at=(20, 44), top=10, refine="cell")
    assert (hits[0].photo, hits[0].point) == ("4.png", (20.0, 44.0))  # a cell of the finer map, of 8 x 8
    others = index.search(readings[4][0], at=(20, 44), top=10, refine="cell", without=pictures[4].digest)
    assert others == hits[1:]


def test_several_hits_in_a_photo_are_local_maxima_of_its_cosines(store, readings):
    index, query = SearchIndex(store, engine="torch", taps=["up2"]), readings[2][0]
    (one,) = index.search(query, at=(30, 30), top=1, refine="cell")
    hits = index.search(query, at=(30, 30), top=50, per_photo=3, refine="cell")
    assert hits[0] == one
    by_photo = {number: [hit for hit in hits if hit.number == number] for number in range(10)}
    assert max(map(len, by_photo.values())) > 1
    wanted = query.at([(30, 30)], ["up2"])[0]
    for number, some in by_photo.items():
        cells = readings[number][0]["up2"][0]
        cosine = torch.cosine_similarity(cells, wanted[:, None, None], dim=0)
        h, w = cosine.shape
        size = readings[number][0].frame.original
        maxima = []
        for row in range(h):
            for column in range(w):
                around = cosine[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
                if cosine[row, column] == around.max():
                    maxima.append(
                        (float(cosine[row, column]), ((column + 0.5) * size[1] / w, (row + 0.5) * size[0] / h))
                    )
        expected = sorted(maxima, reverse=True)[: min(3, len(maxima))]
        assert [hit.point for hit in some] == [point for _, point in expected]
        np.testing.assert_allclose([hit.score for hit in some], [score for score, _ in expected], atol=1e-5)


def test_a_region_is_the_mean_of_its_unit_features(store, readings):
    index, query = SearchIndex(store, engine="torch", taps=["up2"]), readings[5][0]
    h, w = query["up2"].shape[-2:]
    whole = index.search(query, region=(0, 0, 128, 128), top=1)[0]
    mean = torch.nn.functional.normalize(query["up2"][0], dim=0).flatten(1).mean(1)
    best = max(
        float(torch.cosine_similarity(readings[n][0]["up2"][0], mean[:, None, None], 0).max()) for n in range(10)
    )
    assert whole.score == pytest.approx(best, abs=1e-5)
    centre = index.search(query, at=(0.5 * 128 / w, 0.5 * 128 / h), top=4)
    cell = index.search(query, region=(1, 1, 128 / w - 1, 128 / h - 1), top=4)  # within the first cell
    assert [hit.number for hit in cell] == [hit.number for hit in centre]


def test_an_index_that_may_miss_photos_gives_exact_scores(store, readings):
    pytest.importorskip("faiss", reason='needs the extra "search"')
    exact = {hit.number: hit for hit in SearchIndex(store, engine="torch").search(readings[4][0], at=(20, 40))}
    hits = SearchIndex(store, engine="faiss", factory="IVF2,SQ8").search(readings[4][0], at=(20, 40), top=3)
    assert hits[0] == exact[4]
    assert all(hit == exact[hit.number] for hit in hits)


@pytest.mark.parametrize(
    ("change", "asked", "message"),
    [
        ({}, {}, "give the part as one of"),
        ({}, {"at": (1, 1), "region": (0, 0, 9, 9)}, "give the part as one of"),
        ({}, {"at": (199, 1)}, "is outside the image"),
        ({}, {"region": (9, 9, 1, 1)}, "region=.* is empty"),
        ({}, {"at": (1, 1), "top": 0}, "whole numbers from 1 up"),
        ({}, {"at": (1, 1), "refine": "upsample"}, "must be one of soft, cell"),
        ({"origin": Origin(fingerprint="0")}, {"at": (1, 1)}, "two models"),
        ({"recipe": RECIPE.but(seed=3)}, {"at": (1, 1)}, "another recipe"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(store, readings, change, asked, message):
    index = SearchIndex(store, engine="torch", keep=False)
    with pytest.raises(BadInput, match=message):
        index.search(replace(readings[0][0], **change), **asked)


def test_a_query_is_pooled_as_the_store_is(model, pictures, readings, tmp_path):
    with StoreWriter(tmp_path / "b.zarr", model, [RECIPE], pool=2) as writer:
        for photo, bucket in zip(pictures[:3], readings):
            writer.claim(photo)
            writer.write(bucket)
    index = SearchIndex(shiftless.FeatureStore(tmp_path / "b.zarr"), engine="torch")
    with pytest.raises(BadInput, match=r"pool 1, and .* of pool 2"):
        index.search(readings[1][0], at=(5, 5))
    assert index.search(pooled(readings[1][0], 2), at=(5, 5), top=1)[0].score == pytest.approx(1, abs=1e-3)  # fp16


def test_a_store_of_several_readings_is_refused(model, pictures, tmp_path):
    recipes = [RECIPE, RECIPE.but(seed=1)]
    with StoreWriter(tmp_path / "b.zarr", model, recipes) as writer:
        writer.claim(pictures[0])
        writer.write(shiftless.extract(model, pictures[0], recipes))
    with pytest.raises(BadInput, match="2 readings of each photo"):
        SearchIndex(shiftless.FeatureStore(tmp_path / "b.zarr", recipes))
    assert SearchIndex(shiftless.FeatureStore(tmp_path / "b.zarr", recipes[1])).store.recipes == (recipes[1],)


@pytest.mark.parametrize("part", [{"at": (20, 44)}, {"region": (16, 40, 40, 60)}], ids=["at", "region"])
def test_with_the_mirrored_photo_a_cell_has_the_higher_of_two_cosines(store, model, pictures, readings, part):
    index, query = SearchIndex(store, engine="torch", keep=False), readings[4][0]
    turned = shiftless.extract(model, shiftless.mirror(pictures[4]), RECIPE)
    other = {"at": (108, 44)} if "at" in part else {"region": (88, 40, 112, 60)}
    plain, opposite = (
        {hit.number: hit for hit in index.search(*one, top=99, refine="cell", **where)}
        for one, where in (((query,), part), ((turned,), other))
    )
    hits = index.search(query, **part, top=99, refine="cell", mirrored=turned)
    assert len(hits) == 10
    for hit in hits:
        better = max(plain[hit.number], opposite[hit.number], key=lambda one: one.score)
        assert (hit.photo, hit.point) == (better.photo, better.point)
        assert hit.score == pytest.approx(better.score, abs=1e-5)
    assert {hit.score > plain[hit.number].score + 1e-5 for hit in hits} == {True, False}
    with pytest.raises(BadInput, match=r"is not 4\.png mirrored"):
        index.search(query, **part, mirrored=readings[0][0])
