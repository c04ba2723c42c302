"""Vectors of pixels are those of enlarged maps, whatever grids the maps have."""

import pytest
import torch
import torch.nn.functional as F

from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.image import Frame
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap
from shiftless.tasks.pixelgroups import PixelGroups, unit_grid

FRAME = Frame((24, 16), (48, 32))


def reading(joined=False, **maps):
    taps = {name: Tap(name, value.shape[1], 8, "") for name, value in maps.items()}
    return FeatureMaps(maps, taps, FRAME, Recipe(joined=joined), "horse.png")


@pytest.fixture
def buckets():
    torch.manual_seed(0)
    plain = [reading(up0=torch.randn(1, 5, 3, 2), up1=torch.randn(1, 4, 6, 4)) for _ in range(2)]
    return [[*plain, reading(True, maps=torch.randn(1, 3, 6, 4))], [reading(block5=torch.randn(1, 7, 12, 8))]]


def test_the_vectors_are_those_of_maps_enlarged_to_every_pixel(buckets):
    groups = PixelGroups.of(buckets)
    assert groups.groups == ((2, 9), (1, 3), (1, 7))
    read = groups.at(buckets, unit_grid((24, 16)))
    large = [
        torch.cat([F.interpolate(one[tap], (24, 16), mode="bilinear") for tap in one], 1)[0].flatten(1).T
        for one in (*buckets[0], buckets[1][0])
    ]
    torch.testing.assert_close(read[0], torch.stack(large[:2], 1))
    torch.testing.assert_close(read[1][:, 0], large[2])
    torch.testing.assert_close(read[2][:, 0], large[3])


def test_normalised_taps_have_unit_length(buckets):
    read = PixelGroups.of(buckets, normalise=True).at(buckets, torch.rand(10, 2))
    torch.testing.assert_close(read[0][..., :5].norm(dim=-1), torch.ones(10, 2))
    torch.testing.assert_close(read[0][..., 5:].norm(dim=-1), torch.ones(10, 2))


def test_they_survive_a_way_through_plain_values(buckets):
    groups = PixelGroups.of(buckets)
    assert PixelGroups.from_dict(groups.to_dict()) == groups


def test_other_readings_are_refused(buckets):
    groups = PixelGroups.of(buckets)
    with pytest.raises(BadInput, match="readings of 1 models; this head takes 2"):
        groups.check(buckets[:1])
    with pytest.raises(BadInput, match=r"horse.png: a bucket of 2 readings; this head takes 3"):
        groups.check([buckets[0][:2], buckets[1]])
    with pytest.raises(BadInput, match=r"horse.png: reading 0 holds block5 \(7\); needed is up0 \(5\), up1 \(4\)"):
        groups.check([[buckets[1][0], *buckets[0][1:]], buckets[1]])
    with pytest.raises(BadInput, match="no readings were given"):
        PixelGroups.of([])
