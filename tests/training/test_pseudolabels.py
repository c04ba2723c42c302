"""Pseudo-labels: the ensemble's own masks, the most uncertain dropped, and a folder that reads as labelled photos."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from shiftless.data.labelled import read_labelled
from shiftless.errors import BadInput
from shiftless.training import pseudolabels
from shiftless.training.pseudolabels import PictureStore, most_certain, pseudo_label
from tests.training.coloured import CLASSES, PALETTE, coloured
from tests.training.colourhead import Streams, buckets_of, colour_head, unsure

PHOTOS = [coloured(seed).photo for seed in range(10, 18)]
PHOTOS[2:2], PHOTOS[6:6] = [unsure(0)], [unsure(1)]  # photos 2 and 6 of ten


@pytest.fixture(scope="module")
def head():
    return colour_head()


@pytest.fixture
def streams(monkeypatch):
    made = Streams()
    monkeypatch.setattr(pseudolabels, "stream_together", made)
    return made


@pytest.fixture
def store(tmp_path):
    made = PictureStore(tmp_path / "net.run")
    for number, photo in enumerate(PHOTOS):
        made.add(number, photo)
    return made


def label(store, head, numbers=range(10), **options):
    return pseudo_label(store, [f"{n:06d}" for n in numbers], [], head, **{"drop": 0.2, **options})


def names(labels):
    return [int(one.name) for one in labels]


def test_the_set_is_what_the_ensemble_says_without_the_most_uncertain(store, head, streams):
    labels = label(store, head)
    assert names(labels) == [0, 1, 3, 4, 5, 7, 8, 9]
    assert names(labels.dropped) == [2, 6]
    assert max(one.uncertainty for one in labels) < min(one.uncertainty for one in labels.dropped)
    read = read_labelled(labels.folder)
    assert [one.name for one in read] == [one.name for one in labels.kept]
    assert read.classes == CLASSES
    assert read.palette.tolist() == PALETTE
    for one, made in zip(read, labels.kept):
        number = int(one.name)
        expected = head.predict(buckets_of(PHOTOS[number]), side=256)
        assert (one.mask() == expected.mask).all()
        assert (made.mask() == expected.mask).all()
        assert made.uncertainty == pytest.approx(expected.uncertainty.mean())
        with Image.open(one.photo) as photo:
            assert (np.array(photo) == PHOTOS[number]).all()


def test_what_is_labelled_already_is_not_read_again(store, head, streams):
    first = label(store, head)
    streams.read.clear()
    assert label(store, head).identity == first.identity
    assert streams.read == []
    some = label(store, head, range(9), drop=0.0)  # fewer pictures, and none dropped: two come back, one goes
    assert streams.read == []
    assert names(some) == list(range(9))
    assert [one.name for one in read_labelled(some.folder)] == [one.name for one in some]
    assert names(label(store, head)) == names(first)


def test_another_head_labels_anew(store, head, streams):
    before = label(store, head)
    streams.read.clear()
    other = deepcopy(head)
    with torch.no_grad():
        other.classifiers.last.bias += 0.1
    after = label(store, other)
    assert len(streams.read) == 10
    assert after.identity != before.identity
    streams.read.clear()
    label(store, head, side=4)  # and so does another grid
    assert len(streams.read) == 10


@pytest.mark.parametrize("allowed", [0, 4, 9])
def test_a_run_that_is_killed_goes_on_from_what_is_there(store, head, streams, tmp_path, monkeypatch, allowed):
    write, left = pseudolabels.write_atomic, [allowed]

    def killed(path, content):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(pseudolabels, "write_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            label(store, head)
    streams.read.clear()
    labels = label(store, head)
    assert len(streams.read) == 10 - allowed
    assert names(labels) == [0, 1, 3, 4, 5, 7, 8, 9]


def test_a_picture_that_was_parted_from_its_mask_is_joined_to_it_again(store, head, streams, monkeypatch):
    replace, left = pseudolabels.os.replace, [1]

    def killed(source, target):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(pseudolabels.PictureStore, "choose", _choose_with(killed))
        with pytest.raises(KeyboardInterrupt):
            label(store, head)
    with pytest.raises(BadInput):  # nobody takes it for a whole set
        read_labelled(store.set)
    assert len(read_labelled(label(store, head).folder)) == 8


def _choose_with(replace):
    choose = PictureStore.choose

    def chosen(self, names):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pseudolabels.os, "replace", replace)
            choose(self, names)

    return chosen


def test_a_file_is_kept_as_it_is_and_a_changed_one_is_kept_anew(tmp_path, head, streams):
    store = PictureStore(tmp_path / "net.run")
    Image.fromarray(PHOTOS[0]).save(tmp_path / "a.JPG", "JPEG")
    assert store.add(0, tmp_path / "a.JPG") == "000000"
    kept = store.set / "images/000000.jpg"
    assert kept.read_bytes() == (tmp_path / "a.JPG").read_bytes()
    before = kept.stat().st_mtime_ns
    store.add(0, tmp_path / "a.JPG")
    assert kept.stat().st_mtime_ns == before
    first = label(store, head, [0], drop=0.0)
    store.add(0, PHOTOS[2])
    assert [path.name for path in (store.set / "images").iterdir()] == ["000000.png"]
    streams.read.clear()
    assert label(store, head, [0], drop=0.0).identity != first.identity
    assert len(streams.read) == 1
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"b\.png"):
        store.add(1, tmp_path / "b.png")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0, 0.99))
def test_whoever_is_left_is_more_certain_than_whoever_is_dropped(doubts, drop):
    left = most_certain(doubts, drop)
    dropped = [i for i in range(len(doubts)) if i not in left]
    assert left == sorted(left)
    assert len(dropped) == int(drop * len(doubts) + 1e-9)
    assert all((doubts[i], i) < (doubts[j], j) for i in left for j in dropped)


def test_a_share_that_is_none_and_no_pictures_are_refused(store, head, streams):
    assert most_certain([0.5] * 10) == list(range(9))  # 10% by default, the last of equals
    for drop in (-0.1, 1.0):
        with pytest.raises(BadInput, match="give the share of pictures to drop"):
            label(store, head, drop=drop)
    with pytest.raises(BadInput, match="no picture to learn from"):
        label(store, head, [])
