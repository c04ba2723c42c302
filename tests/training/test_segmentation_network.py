"""A network's answers are those of transformers, at the photo's size; folders of other things are refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from shiftless.errors import BadInput
from shiftless.training.segformer import ARCHITECTURES, new_network
from shiftless.training.segmentation_network import SegmentationNetwork
from tests.training.coloured import CLASSES, PALETTE, TINY


@pytest.fixture(scope="module")
def network():
    return SegmentationNetwork(new_network(TINY, CLASSES, PALETTE).eval(), side=64)


@pytest.fixture
def folder(network, tmp_path):
    return network.save(tmp_path / "net")


def noise(h, w):
    return np.random.default_rng(0).integers(0, 256, (h, w, 3), dtype=np.uint8)


def test_the_mask_is_transformers_own(network):
    photo = noise(64, 32)
    pixels = torch.from_numpy(photo).permute(2, 0, 1)[None] / 255
    pixels = (pixels - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    with torch.no_grad():
        logits = network.network(pixel_values=pixels).logits
    large = F.interpolate(logits, (64, 32), mode="bilinear", align_corners=False)[0]
    parts = network.predict(photo, name="a.png")
    margin = (large[0] - large[1]).abs() > 1e-4
    assert (torch.from_numpy(parts.mask) == large.argmax(0))[margin].all()
    entropy = torch.distributions.Categorical(logits=large.permute(1, 2, 0)).entropy()
    torch.testing.assert_close(torch.from_numpy(parts.uncertainty), entropy, atol=1e-4, rtol=0)
    assert parts.name == "a.png"


@pytest.mark.parametrize("hw", [(20, 90), (8, 8), (130, 70)])
def test_the_answer_has_the_photos_size(network, hw):
    parts = network.predict(noise(*hw))
    assert parts.mask.shape == parts.uncertainty.shape == hw
    assert 0 <= parts.uncertainty.min() <= parts.uncertainty.max() <= math.log(2) + 1e-6
    assert network.predict(noise(*hw), size=(30, 20)).mask.shape == (30, 20)


def test_predicting_leaves_a_network_in_training(network):
    network.network.train()
    one, again = (network.predict(noise(32, 32)).uncertainty for _ in range(2))
    assert network.network.training
    network.network.eval()
    assert (one == again).all()


def test_b0_is_the_published_size():
    sizes = {name: sum(p.numel() for p in new_network(name, ["a"] * 0 + ["a", "b"]).parameters()) for name in ("b0",)}
    assert sizes["b0"] == pytest.approx(3.7e6, rel=0.02)  # SegFormer's table 1: MiT-B0 with its head, 3.8 M
    assert list(ARCHITECTURES) == ["tiny", "b0", "b1"]


def test_the_same_seed_draws_the_same_weights():
    one, same, other = (new_network(TINY, CLASSES, seed=seed).state_dict() for seed in (1, 1, 2))
    name = "decode_head.classifier.weight"
    assert torch.equal(one[name], same[name])
    assert not torch.equal(one[name], other[name])


def changed(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def test_a_folder_of_something_else_is_refused_in_one_line(folder, tmp_path):
    assert SegmentationNetwork.is_at(folder)
    assert not SegmentationNetwork.is_at(tmp_path)
    with pytest.raises(BadInput, match=r"no config\.json of a SegFormer here"):
        SegmentationNetwork.open(tmp_path)
    changed(folder, palette=[[1, 2, 3]])
    with pytest.raises(BadInput, match="'palette' must hold a colour"):
        SegmentationNetwork.open(folder, device="cpu")
    changed(folder, palette=None, depths=[90, 90])
    with pytest.raises(BadInput, match="'depths' is"):
        SegmentationNetwork.open(folder)
    changed(folder, model_type="vit", depths=[1, 1])
    assert not SegmentationNetwork.is_at(folder)
    with pytest.raises(BadInput, match="a model of type 'vit', not a SegFormer"):
        SegmentationNetwork.open(folder)


def test_weights_that_lack_or_are_not_finite_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    broken = {**weights, "decode_head.classifier.bias": torch.tensor([math.nan, 0.0])}
    save_file(broken, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match=r"decode_head\.classifier\.bias holds values that are not finite"):
        SegmentationNetwork.open(folder, device="cpu")
    del weights["decode_head.classifier.bias"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInput, match=r"its weights lack decode_head\.classifier\.bias"):
        SegmentationNetwork.open(folder, device="cpu")
