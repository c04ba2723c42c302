"""A network is scored at the size of each mask, as heads are, and on its own classes only."""

from __future__ import annotations

import numpy as np
import pytest

from shiftless.bench import network as bench
from shiftless.data.labelledphoto import LabelledPhoto, LabelledPhotos
from shiftless.errors import BadInput
from shiftless.metrics.segmentation import IGNORE, Confusion
from shiftless.training.segformer import new_network
from shiftless.training.segmentation_network import SegmentationNetwork
from tests.training.coloured import CLASSES, PALETTE, TINY, coloured


@pytest.fixture(scope="module")
def network():
    return SegmentationNetwork(new_network(TINY, CLASSES).eval(), 32)


@pytest.fixture
def labelled():
    photos = [coloured(seed, hw) for seed, hw in enumerate([(20, 40), (33, 17), (32, 32)])]
    photos[0].labels[:4] = IGNORE
    rows = (LabelledPhoto(one.name, one.photo, "made here", one.labels, 2) for one in photos)
    return LabelledPhotos(tuple(rows), CLASSES, np.array(PALETTE))


def test_counts_are_those_of_its_masks(network, labelled):
    shown = []
    table, counted = bench.run(network, labelled, each=lambda one, mask, parts: shown.append((one, mask, parts)))
    assert [one.name for one, _, _ in shown] == [one.name for one in labelled]
    for (one, mask, parts), counts in zip(shown, counted, strict=True):
        assert parts.mask.shape == mask.shape
        assert (counts.counts == Confusion(2).add(one.mask(), network.predict(one.photo).mask).counts).all()
    whole = sum(counted[1:], counted[0])
    assert [row.value for row in table.rows] == [whole.miou(), whole.pixel_accuracy(), whole.mean_accuracy()]
    assert {row.method for row in table.rows} == {"one network"}
    assert table.to_dict()["confusion"] == whole.counts.tolist()


def test_other_classes_are_refused(network, labelled):
    others = LabelledPhotos(labelled.photos, ("ground", "square"), labelled.palette)
    with pytest.raises(BadInput, match=r"and the network knows 2 classes \(ground, disc\)"):
        bench.score_network(network, others)
