"""Masks that are proposed learn by transformers' own loss, and go on where they were stopped."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from shiftless.errors import BadInput
from shiftless.metrics.segmentation import IGNORE
from shiftless.noise import seeded
from shiftless.tasks.mask2former import Proposals
from shiftless.tasks.scenehead import SceneHead
from shiftless.training import scenes as module
from shiftless.training.maskloss import mask_loss
from shiftless.training.scenes import fit_scenes
from shiftless.training.scenesettings import SceneSettings
from tests.training.scenedata import CLASSES, kept

ONE = kept(0, 1)
SETTINGS = SceneSettings(steps=12, batch=1, side=32, every=12, lr=5e-3, least_lr=5e-3, scales=(1, 1), flip=False)
MASKS = {"width": 64, "proposals": {"queries": 4, "layers": 1, "words": 6, "clip": "1f"}}
WORDS = torch.eye(3, 6)


def fit(out, settings=SETTINGS, **changes):
    options = {"validation": ONE, "decoder": "mask2former", "options": MASKS, "words": WORDS, "device": "cpu"}
    return fit_scenes(ONE, CLASSES, out, settings, **{**options, **changes})


def test_a_layer_s_loss_is_transformers_own():
    draw = torch.Generator().manual_seed(0)
    masks, classes = torch.randn(2, 5, 8, 8, generator=draw), torch.randn(2, 5, 4, generator=draw)
    labels = torch.randint(0, 3, (2, 16, 16), generator=draw)
    labels[0, :4], labels[1] = IGNORE, labels[1].clamp_max(1)
    config = Mask2FormerConfig(num_labels=3, train_num_points=64)
    targets = [torch.arange(3), torch.arange(2)]
    with seeded(1):
        parts = Mask2FormerLoss(config, {})(
            masks, classes, [(one == t[:, None, None]).float() for one, t in zip(labels, targets)], targets
        )
    with seeded(1):
        loss, large = mask_loss(Proposals((masks,), (classes,)), labels)
    sums = {"cross_entropy": config.class_weight, "mask": config.mask_weight, "dice": config.dice_weight}
    total = sum(weight * parts[f"loss_{name}"] for name, weight in sums.items())
    assert float(loss) == pytest.approx(float(total), rel=1e-6)
    assert large.shape == (2, 3, 16, 16)


def test_pictures_without_a_label_teach_nothing():
    masks, classes = torch.randn(2, 5, 8, 8, requires_grad=True), torch.randn(2, 5, 4, requires_grad=True)
    loss, _ = mask_loss(Proposals((masks,), (classes,)), torch.full((2, 16, 16), IGNORE))
    loss.backward()
    assert (float(loss.detach()), float(masks.grad.abs().sum())) == (0, 0)
    labels = torch.zeros(2, 16, 16).long()
    labels[1] = IGNORE
    mask_loss(Proposals((masks,), (classes,)), labels)[0].backward()
    assert masks.grad[0].abs().sum() > 0
    assert masks.grad[1].abs().sum() == 0


def test_masks_of_one_picture_are_learned(tmp_path):
    (before,) = ONE.score(SceneHead(ONE.levels, CLASSES, "mask2former", **MASKS))
    longer = replace(SETTINGS, steps=50, every=50, lr=2e-3, least_lr=2e-3)  # learns it with any seed, on any processor
    fitted = fit(tmp_path / "net", longer)
    assert fitted.history[-1]["miou"] > max(0.6, before.miou() + 0.2)
    opened = SceneHead.from_pretrained(tmp_path / "net")
    assert opened.settings["proposals"]["clip"] == "1f"
    torch.testing.assert_close(opened.decoder.words, WORDS)
    found, again = (head.predict(ONE.buckets[0]).mask for head in (fitted.head, opened))
    assert (found == again).all()
    with pytest.raises(BadInput, match="a run with another words"):
        fit(tmp_path / "net", longer, words=WORDS.flip(0))


def test_a_run_that_is_stopped_goes_on_to_the_same_masks(tmp_path, monkeypatch):
    short, learn = replace(SETTINGS, steps=3, every=1), module._Training.learn
    fit(tmp_path / "whole", short)

    def killed(self, *views):
        if self.step == 2:
            raise KeyboardInterrupt
        learn(self, *views)

    with monkeypatch.context() as patch:
        patch.setattr(module._Training, "learn", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "killed", short)
    fit(tmp_path / "killed", short)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_masks_lie_on_the_finest_level():
    with pytest.raises(BadInput, match="order='coarse': masks lie on the finest level"):
        SceneHead(ONE.levels, CLASSES, "mask2former", order="coarse")
    with pytest.raises(BadInput, match="a head of linear proposes no masks"):
        SceneHead(ONE.levels, CLASSES, "linear").proposals([])
