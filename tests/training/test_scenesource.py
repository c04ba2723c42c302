"""Sources of scenes: kept in memory, kept on disk, and read for every view, by a tiny model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import shiftless
from shiftless.data.labelledphoto import LabelledPhoto
from shiftless.errors import BadInput
from shiftless.image import open_photo
from shiftless.metrics.segmentation import IGNORE
from shiftless.reading.together import Reader
from shiftless.store.buckets import StoredBuckets, store_buckets
from shiftless.tasks.scenehead import SceneHead
from shiftless.training.scenes import SceneSettings, fit_scenes
from shiftless.training.scenesource import KeptScenes, ReadScenes, in_memory, segmented
from shiftless.training.view import View
from tests.training.scenedata import CLASSES, kept, scene

SETTINGS = SceneSettings(steps=2, batch=2, side=64, every=2, scales=(1.0, 2.0))
RECIPES = tuple(shiftless.Recipe(taps=("up0", "up1"), seed=seed) for seed in (0, 1))


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(shiftless.load("twin:sd15", device="cpu", dtype="fp32"), RECIPES)


@pytest.fixture(scope="module")
def labelled() -> list[LabelledPhoto]:
    scenes = [scene(seed) for seed in (0, 1)]
    return [LabelledPhoto(one.name, one.photo, one.name, one.values, len(CLASSES)) for one in scenes]


@pytest.fixture(scope="module")
def read(reader, labelled) -> ReadScenes:
    return ReadScenes(reader, labelled, len(CLASSES), 64, stride=64)


def test_kept_views_are_cut_out_of_features_and_mask_alike():
    source = kept(0, 2)
    settings = SceneSettings(side=32, scales=(1.0, 1.0), most=1.0)
    levels, labels = source.view(0, np.random.default_rng(4), settings)
    assert [tuple(one.shape) for one in levels] == [(2, 3, 8, 8), (2, 3, 4, 4)]
    view = View.draw((32, 48), np.random.default_rng(4), (1.0, 1.0))
    assert np.array_equal(labels, view.labels(source.labelled[0].mask(), 32))
    found = torch.nn.functional.interpolate(levels[0][:1], (32, 32), mode="nearest")[0].argmax(0).numpy()
    assert (found == labels)[labels != IGNORE].mean() > 0.75  # the feature of each class is its own channel, and noise
    features, stacked = source.batch([source.view(i, np.random.default_rng(i), settings) for i in (0, 1, 0)])
    assert [tuple(one.shape) for one in features] == [(2, 3, 3, 8, 8), (2, 3, 3, 4, 4)]
    assert (tuple(stacked.shape), stacked.dtype) == ((3, 32, 32), torch.uint8)


def test_in_memory_features_are_halved_and_limited():
    source = kept(0, 2)
    small = in_memory(source.buckets, 2, 10**6)
    assert {one.dtype for bucket in small for maps in bucket for one in maps.values()} == {torch.float16}
    kept_half = KeptScenes(source.labelled, small, 3)
    one, other = (s.view(0, np.random.default_rng(0), SceneSettings(side=32))[0][0] for s in (source, kept_half))
    assert torch.allclose(one, other, atol=2e-3)
    with pytest.raises(BadInput, match=r"features of 1,000,000 photos take .* GiB in memory, over the limit of"):
        in_memory(source.buckets, 10**6, 10**6)
    with pytest.raises(BadInput, match="2 labelled photos and the readings of 1"):
        KeptScenes(source.labelled, small[:1], 3)


def test_on_disk_they_are_read_once_and_are_the_same(tmp_path, reader, labelled, monkeypatch):
    photos = [open_photo(one.photo, one.name) for one in labelled]
    stored = store_buckets(tmp_path, reader, photos, dtype="fp32")
    expected = list(shiftless.stream(reader.model, photos, list(RECIPES)))
    assert len(stored) == 2
    assert isinstance(stored[:1], StoredBuckets)
    for bucket, other in zip(stored, expected):
        assert all(torch.equal(a[tap], b[tap]) for a, b in zip(bucket, other) for tap in a)
    monkeypatch.setattr(type(reader.model), "denoise", None)  # nothing is read again
    again = store_buckets(tmp_path, reader, photos, dtype="fp32", progress=True)
    assert again.files == stored.files
    source = KeptScenes(labelled, again, len(CLASSES))
    assert source.source.fingerprint == reader.model.fingerprint


def test_read_views_are_read_from_the_part_of_the_photo(read, reader):
    views = [read.view(i, np.random.default_rng(i), SETTINGS) for i in (0, 1)]
    assert all(photo.hw == (64, 64) == labels.shape for photo, labels in views)
    features, labels = read.batch(views)
    direct = list(shiftless.stream(reader.model, [photo for photo, _ in views], list(RECIPES)))
    assert torch.equal(features[0][:, 1], torch.cat([maps["up1"] for maps in direct[1]]))
    assert torch.equal(features[1][0, 0], direct[0][0]["up0"][0])
    assert np.array_equal(labels[1].numpy(), views[1][1])
    plain = SceneSettings(side=64, colour=False, scales=(1.0, 1.0), most=1.0, flip=False)
    photo, seen = read.view(0, np.random.default_rng(5), plain)
    colours = np.array([(90, 120, 220), (90, 90, 90), (220, 40, 40)])
    nearest = np.abs(photo.array[..., None, :].astype(int) - colours).sum(-1).argmin(-1)
    assert (nearest == seen)[seen != IGNORE].mean() > 0.9


def test_a_head_is_trained_on_views_and_segments_by_windows(tmp_path, read, reader, labelled):
    fitted = fit_scenes(read, CLASSES, tmp_path / "net", SETTINGS, validation=read, decoder="linear", device="cpu")
    assert fitted.head.window == 64
    assert 0 <= fitted.history[-1]["miou"] <= 1
    photos = [one.photo for one in labelled]
    by_windows = list(segmented(fitted.head, reader, photos, stride=64))
    assert [parts.mask.shape for parts in by_windows] == [(32, 48)] * 2
    counted = read.score(fitted.head)
    assert sum(one.totals()[1].sum() for one in counted) == 2 * 32 * 48
    skipped: list[str] = []
    assert len(list(segmented(fitted.head, reader, [photos[0], "nowhere.png"], stride=64, skipped=skipped))) == 1
    assert skipped == ["nowhere.png: no such file; check the path"]


def test_windows_need_a_head_that_was_trained_on_views(reader, labelled, read):
    head = SceneHead(read.levels, CLASSES, "linear")
    with pytest.raises(BadInput, match="trained on features of whole photos"):
        next(segmented(head, reader, [labelled[0].photo], stride=64))
    assert next(segmented(head, reader, [labelled[0].photo])).mask.shape == (32, 48)
    with pytest.raises(BadInput, match="side=32: these photos are read in views of 64 pixels"):
        read.check(SceneSettings(side=32))
