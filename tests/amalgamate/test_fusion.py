"""Fusion: readings by different models lie on one grid, each with its own normalisation and weight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import shiftless
from shiftless.amalgamate import Concat, fuse
from shiftless.amalgamate.fusion import on_one_grid
from shiftless.features import Bucket, FeatureMaps
from shiftless.header import Origin
from shiftless.image import Frame
from shiftless.taps.names import Tap

PICTURES = [np.random.default_rng(i).integers(0, 255, (60, 90, 3), dtype=np.uint8) for i in range(2)]
SD = shiftless.Recipe(timestep=100, taps=("up1", "up2"))


@pytest.fixture(scope="module")
def read():
    """Two photos, each by a diffusion model and by a vision transformer."""
    models = [shiftless.load(name, device="cpu", dtype="fp32") for name in ("twin:sd15", "twin:dinov2-s")]
    return list(zip(*(shiftless.extract(m, PICTURES, r) for m, r in zip(models, (SD, None)))))


def made(tensor, stride=16, frame=None, **origin):
    frame = frame or Frame((64, 96), (64, 96))
    return FeatureMaps({"a": tensor}, {"a": Tap("a", tensor.shape[1], stride, "")}, frame, origin=Origin(**origin))


def test_the_cosine_of_fused_vectors_is_the_weighted_mean_of_the_models_cosines(read):
    weights = (0.6, 0.3)
    a, b = (fuse(readings, weights=weights)["fused"] for readings in read)
    dense = [on_one_grid(readings) for readings in read]
    assert {one.shape[2:] for one in a.split(1)} == {dense[0][0].shape[2:]} == {dense[0][1].shape[2:]}
    apart = [F.cosine_similarity(one, other, dim=1) for one, other in zip(*dense)]
    expected = sum(w**2 * cosine for w, cosine in zip(weights, apart)) / sum(w**2 for w in weights)
    torch.testing.assert_close(F.cosine_similarity(a, b, dim=1), expected, atol=1e-5, rtol=1e-5)


def test_fused_features_are_matched_saved_and_told_apart(read, tmp_path):
    a, b = (fuse(readings) for readings in read)
    assert a.origin.model == "twin:sd15 + twin:dinov2-s"
    assert (a.frame.original, a["fused"].shape[1]) == ((60, 90), a.taps["fused"].channels)
    opened = FeatureMaps.open(a.save(tmp_path / "a.safetensors"))
    found = shiftless.match(opened, b, points=[(45, 30)])
    assert len(found) == 1
    assert fuse([read[0][0]]).origin.fingerprint == read[0][0].origin.fingerprint
    with pytest.raises(shiftless.BadInput, match="two models"):
        shiftless.match(fuse([read[0][0]]), b, points=[(45, 30)])


def test_cells_of_different_grids_show_one_place():
    """A ramp along x, seen by two models at other sizes, stays the same ramp."""
    coarse = made(torch.linspace(0, 1, 17)[:-1].add(1 / 32).view(1, 1, 1, 16).expand(1, 2, 8, 16))
    fine = made(torch.linspace(0, 1, 33)[:-1].add(1 / 64).view(1, 1, 1, 32).expand(1, 3, 16, 32), 14,
                Frame((64, 96), (224, 448)))  # fmt: skip
    one, two = on_one_grid([coarse, fine], normalise=False)
    assert (one.shape, two.shape) == ((1, 2, 16, 32), (1, 3, 16, 32))
    torch.testing.assert_close(one[0, 0, :, 1:-1], two[0, 0, :, 1:-1], atol=1e-5, rtol=0)
    assert on_one_grid([coarse, fine], side=10)[0].shape == (1, 2, 5, 10)


def test_a_fitted_pca_joins_them_too(read):
    dense = on_one_grid(read[0])
    merge = Concat(2, [one.shape[1] for one in dense], components=5, normalise=True, weights=(1, 2)).fit(dense)
    fused = fuse(read[1], merge=merge)["fused"]
    assert fused.shape[1] == 5
    joined = torch.cat([F.normalize(one, dim=1) * w for one, w in zip(on_one_grid(read[1]), (1, 2))], 1)
    torch.testing.assert_close(fused, torch.einsum("dc,bchw->bdhw", merge.axes, joined - merge.mean[:, None, None]))


def test_a_merge_with_its_weights_is_saved(tmp_path):
    merge = Concat(2, (4, 9), components=3, normalise=True, weights=(1, 0.5)).fit(
        [torch.randn(1, 4, 5, 5), torch.randn(1, 9, 5, 5)]
    )
    opened = Concat.from_pretrained(merge.save(tmp_path / "merge.safetensors"))
    two = [torch.randn(1, 4, 2, 3), torch.randn(1, 9, 2, 3)]
    assert torch.equal(opened(two), merge(two))


def test_without_normalisation_or_weights_it_is_plain_concatenation():
    one, two = torch.randn(1, 4, 3, 3), torch.randn(1, 6, 3, 3)
    assert torch.equal(fuse(Bucket((made(one), made(two))), normalise=False)["fused"], torch.cat([one, two], 1))


@pytest.mark.parametrize(
    ("readings", "options", "message"),
    [
        ([], {}, "no reading was given"),
        ([{}, {"frame": Frame((64, 90), (64, 96))}], {}, "reading 1 is of another photo"),
        ([{"photo": "1f"}, {"photo": "2e"}], {}, "reading 1 is of another photo"),
        ([{}, {}], {"side": 0}, "side=0: give how many cells"),
        ([{}, {}], {"weights": (1,)}, "2 channels and 1 weights: give one for each of 2 readings"),
        ([{}, {}], {"weights": (1, 0)}, "give positive numbers"),
        ([{}, {}], {"weights": (1, float("nan"))}, "give positive numbers"),
        ([{}, {}], {"merge": Concat(3, 4)}, "2 readings: this module was made for 3"),
        ([{}, {}], {"merge": Concat(2, 5)}, "C = 5"),
        ([{}, {}], {"merge": Concat(2, 4), "weights": (1, 1)}, "weights and merge were both given"),
    ],
)
def test_what_cannot_be_fused_is_one_line(readings, options, message):
    with pytest.raises(shiftless.BadInput, match=message) as raised:
        fuse([made(torch.rand(1, 4, 4, 6), **one) for one in readings], **options)
    assert "\n" not in str(raised.value)


def test_readings_on_other_grids_are_not_joined_as_they_are():
    with pytest.raises(shiftless.BadInput, match="bring them to one grid first"):
        Concat(2, (4, 4))([torch.rand(1, 4, 2, 2), torch.rand(1, 4, 3, 3)])


def test_adapters_of_both_models_are_kept_apart():
    a = made(torch.rand(1, 4, 4, 6), model="one", fingerprint="1f", adapters=(("lora x", "aa"),))
    b = replace(a, origin=Origin(model="two", fingerprint="2e", adapters=(("lora x", "bb"),)))
    fused = fuse([a, b]).origin
    assert fused.adapters == (("one: lora x", "aa"), ("two: lora x", "bb"))
    assert fuse([b, a]).origin.conflict(fused).startswith("two models")
