"""Which pixels are drawn of a labelled photo, and what is kept of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.header import Origin
from shiftless.image import Frame
from shiftless.taps.names import Tap
from shiftless.tasks.pixelsample import UNLABELLED, LabelledBuckets, PixelSample, draw_pixels

TAP = Tap("up1", 2, 8, "")


def buckets(fingerprint="1f"):
    """One reading whose two channels say where a pixel lies: x and y, in cells of an 8 x 8 grid."""
    ys, xs = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    maps = FeatureMaps(
        {"up1": torch.stack([xs, ys])[None]},
        {"up1": TAP},
        Frame((16, 16), (64, 64)),
        origin=Origin("", "m", fingerprint),
    )
    return [[maps]]


def halves(label=1):
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = label
    return mask


@given(st.integers(1, 80), st.floats(0, 1), st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_drawn_pixels_are_labelled_differ_and_miss_no_class(most, balance, values):
    mask = np.array([values + [UNLABELLED] * 5], np.uint8)
    chosen, left_out = draw_pixels(mask, most, np.random.default_rng(0), balance, smallest=2)
    sizes = np.bincount(values, minlength=4)
    legal = {label for label in range(4) if sizes[label] >= 2}
    assert len(set(chosen)) == len(chosen)
    assert set(mask.ravel()[chosen]) == legal
    assert dict(left_out) == {label: n for label, n in enumerate(sizes) if n == 1}
    assert len(chosen) <= max(most, len(legal)) + len(legal)  # rounding adds less than one a class


def test_balance_goes_from_the_sizes_to_equal_numbers():
    mask = np.array([[0] * 900 + [1] * 90 + [2] * 10], np.uint8)
    counts = [
        np.bincount(mask.ravel()[draw_pixels(mask, 100, np.random.default_rng(0), balance, 1)[0]]).tolist()
        for balance in (0.0, 1.0)
    ]
    assert counts == [[90, 9, 1], [45, 45, 10]]  # the third class has no more than 10


def test_features_are_those_of_the_pixels_places():
    sample = PixelSample.gather([LabelledBuckets(buckets(), halves(), "a.png")], 1, dtype=torch.float32, smallest=1)
    assert len(sample) == 64
    assert sample.groups.groups == ((1, 2),)
    xs = sample.features[0][:, 0, 0]
    torch.testing.assert_close(sample.labels, (xs > 3.5).long())


def test_a_photos_pixels_do_not_depend_on_the_others():
    rows = [LabelledBuckets(buckets(), halves(), name) for name in ("a.png", "b.png")]
    both = PixelSample.gather(rows, 2, per_photo=16)
    alone = PixelSample.gather(rows[1:], 2, per_photo=16)
    assert torch.equal(both.of_photos([1]).features[0], alone.features[0])
    assert not torch.equal(both.of_photos([0]).features[0], alone.features[0])


def test_the_adapters_of_every_reading_are_remembered():
    def reading(lora, content):
        maps = buckets()[0][0]
        return replace(maps, origin=replace(maps.origin, adapters=((lora, content),)))

    def row(name, content):
        return LabelledBuckets([[reading("lora a", "1"), reading("lora b", content)]], halves(), name)

    sample = PixelSample.gather([row("a.png", "2"), row("b.png", "2")], 2)
    assert sample.origins[0].adapters == (("lora a", "1"), ("lora b", "2"))
    with pytest.raises(BadInput, match=r"b.png: features of two versions of lora b .*; read all photos"):
        PixelSample.gather([row("a.png", "2"), row("b.png", "3")], 2)


def test_memory_is_shared_out_over_the_photos():
    row = LabelledBuckets(buckets(), np.tile(halves(), (8, 8)), "a.png")
    assert len(PixelSample.gather([row], 1, most_bytes=1000 * 4)) == 1000  # two channels of two bytes a pixel
    assert PixelSample.gather([row], 10, most_bytes=1000 * 4).bytes() <= 410


def test_more_photos_than_announced_are_kept_too():
    rows = [LabelledBuckets(buckets(), halves(), f"{i}.png") for i in range(4)]
    announced, more = (PixelSample.gather(rows, n, per_photo=16) for n in (4, 1))
    assert torch.equal(announced.features[0], more.features[0])
    assert torch.equal(announced.labels, more.labels)


def test_small_regions_are_left_out_and_told():
    mask = halves()
    mask[0, 0] = 2
    sample = PixelSample.gather([LabelledBuckets(buckets(), mask, "a.png")], 1)
    assert sample.labels.unique().tolist() == [0, 1]
    assert sample.skipped == ("a.png: class 2 has 1 pixels",)


def test_bad_input_is_told():
    empty = np.full((8, 8), UNLABELLED, np.uint8)
    with pytest.raises(BadInput, match=r"a.png: no class has 20 labelled pixels or more; label it, or leave it out"):
        PixelSample.gather([LabelledBuckets(buckets(), empty, "a.png")], 1)
    with pytest.raises(BadInput, match="every labelled pixel is of class 0; label at least two classes"):
        PixelSample.gather([LabelledBuckets(buckets(), halves(0), "a.png")], 1)
    rows = [LabelledBuckets(buckets(f), halves(), name) for f, name in (("1f", "a.png"), ("2e", "b.png"))]
    with pytest.raises(BadInput, match=r"b.png: features of two models .*; read all photos with the same models"):
        PixelSample.gather(rows, 2)
    with pytest.raises(BadInput, match="no labelled photo was given"):
        PixelSample.gather([], 0)
