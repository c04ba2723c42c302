"""Fitting a scene head: it learns, goes on where it was killed, keeps the best, and refuses what is not its own."""

from __future__ import annotations

import errno
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from shiftless import atomic
from shiftless.errors import BadInput
from shiftless.metrics.segmentation import IGNORE, Confusion
from shiftless.tasks.scenehead import SceneHead
from shiftless.training import scenes as module
from shiftless.training.checkpoint import INDEX, load_checkpoint
from shiftless.training.lovasz import lovasz_softmax
from shiftless.training.scenes import SceneSettings, fit_scenes, scene_loss
from tests.simulated_device import simulated
from tests.training.scenedata import CLASSES, kept

TRAIN, VALIDATION = kept(0, 6), kept(100, 3)
SHORT = SceneSettings(steps=6, batch=2, side=32, every=2, lr=5e-3)
SMALL = {"width": 8, "hidden": 4}


def fit(out, settings=SHORT, **changes):
    options = {"validation": VALIDATION, "options": SMALL, "device": "cpu", **changes}
    return fit_scenes(TRAIN, CLASSES, out, settings, **options)


def states(folder):
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A short run that nobody disturbed: its answer, and its folder."""
    out = tmp_path_factory.mktemp("whole") / "net"
    return fit(out), out


def test_it_learns_what_photos_show(tmp_path):
    fitted = fit(tmp_path / "net", replace(SHORT, steps=30, every=15))
    assert fitted.history[-1]["miou"] > 0.7
    assert fitted.history[-1]["train_miou"] > 0.7
    found = fitted.head.predict(VALIDATION.buckets[0])
    counted = Confusion(3).add(VALIDATION.labelled[0].mask(), found.mask)
    assert counted.pixel_accuracy() > 0.85


def test_a_run_that_is_killed_goes_on_to_the_same_head(tmp_path, monkeypatch, whole):
    learn, save = module._Training.learn, module.save_checkpoint
    for stop in (1, 3, 5):  # before the first checkpoint, and after some

        def killed(self, *views, stop=stop):
            if self.step == stop:
                raise KeyboardInterrupt
            learn(self, *views)

        with monkeypatch.context() as patch:
            patch.setattr(module._Training, "learn", killed)
            with pytest.raises(KeyboardInterrupt):
                fit(tmp_path / "killed")
        assert not (tmp_path / "killed").exists()

    def unsaved(folder, tensors, numbers):  # killed between the best head and its checkpoint
        if numbers["step"] == 6:
            raise KeyboardInterrupt
        save(folder, tensors, numbers)

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_checkpoint", unsaved)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "killed")
    again = fit(tmp_path / "killed")
    assert (again.history, again.best) == (whole[0].history, whole[0].best)
    one, other = states(whole[1]), states(tmp_path / "killed")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_head_that_is_kept_is_the_best_on_the_validation_photos(tmp_path, monkeypatch):
    scores = iter([0.5, 0.9, 0.7])
    seen = []

    def score(self, head):
        seen.append({name: value.clone() for name, value in head.state_dict().items()})
        good = round(next(scores) * 100)
        return [Confusion(2).add(np.array([[0] * 100]), np.array([[0] * good + [1] * (100 - good)]))]

    monkeypatch.setattr(type(VALIDATION), "score", score)
    fitted = fit(tmp_path / "net")
    assert [row["step"] for row in fitted.history] == [2, 4, 6]
    assert fitted.best == 4
    assert all(torch.equal(value, seen[1][name]) for name, value in states(tmp_path / "net").items())
    about = json.loads((tmp_path / "net" / "training.json").read_text())
    assert (about["best"], about["settings"]["steps"], len(about["history"])) == (4, 6, 3)


def test_without_validation_the_last_is_kept(tmp_path):
    fitted = fit(tmp_path / "net", replace(SHORT, steps=2), validation=None, decoder="linear", options={})
    assert (fitted.best, fitted.history[-1]["miou"]) == (2, None)
    opened = SceneHead.from_pretrained(tmp_path / "net")
    assert (opened.classes, opened.window, opened.source.model) == (CLASSES, 0, "made")
    assert opened.recipes == TRAIN.recipes


def test_a_device_learns_what_the_cpu_learns(tmp_path, monkeypatch):
    still = replace(SHORT, steps=2, every=1)
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, x: x)  # which devices draw differently
    here = fit(tmp_path / "cpu", still)
    with simulated("cuda:1", monkeypatch) as device:
        there = fit(tmp_path / "device", still, device=device)
    losses = [[row["loss"] for row in one.history] for one in (here, there)]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)


def test_the_loss_is_the_sum_of_its_parts_without_what_is_not_labelled():
    draw = torch.Generator().manual_seed(0)
    logits, auxiliary = torch.randn(2, 3, 4, 6, generator=draw), torch.randn(2, 3, 2, 3, generator=draw)
    labels = torch.randint(0, 3, (2, 4, 6), generator=draw)
    labels[0, :2] = IGNORE
    loss, large = scene_loss(logits, auxiliary, labels, lovasz=2.0, weight=0.4)
    known = labels != IGNORE
    shares = logits.log_softmax(1).movedim(1, -1)[known]
    entropy = -shares[torch.arange(len(shares)), labels[known]].mean()
    small = torch.nn.functional.interpolate(auxiliary, (4, 6), mode="bilinear")
    other = torch.nn.functional.cross_entropy(small, labels, ignore_index=IGNORE)
    assert float(loss) == pytest.approx(float(entropy + 2 * lovasz_softmax(logits, labels) + 0.4 * other), rel=1e-5)
    assert torch.equal(large, logits)
    nothing, _ = scene_loss(logits.requires_grad_(), auxiliary, torch.full_like(labels, IGNORE))
    assert float(nothing.detach()) == 0


def test_the_rate_falls_as_published():
    settings = SceneSettings()
    assert settings.rate(0) == pytest.approx(1.6e-4)
    assert settings.rate(40_000) == pytest.approx(1e-4 + 0.6e-4 * 0.5**0.9)
    assert settings.rate(80_000) == pytest.approx(1e-4)


def test_a_full_disk_ends_in_one_line_and_the_last_checkpoint_stays(tmp_path, monkeypatch, whole):
    checkpoint, write, room = tmp_path / "net.run" / "checkpoint", atomic._write_all, 0
    size = sum(path.stat().st_size for path in (whole[1].parent / "net.run" / "checkpoint").iterdir())

    def full(descriptor, content):
        nonlocal room
        room -= len(content)
        if room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(descriptor, content)

    monkeypatch.setattr(atomic, "_write_all", full)
    for share, step in ((0.1, 0), (1.5, 2)):  # of the size of a checkpoint
        room = int(share * size)
        with pytest.raises(BadInput, match=r"net.run/checkpoint/.*(full|space)") as caught:
            fit(tmp_path / "net", validation=None)
        assert "\n" not in str(caught.value)
        assert (load_checkpoint(checkpoint)[1]["step"] if step else (checkpoint / INDEX).exists()) == step
    room = 10**9
    assert fit(tmp_path / "net", validation=None).best == 6


def test_what_is_not_its_own_is_refused(tmp_path, whole):
    out = whole[1]
    with pytest.raises(BadInput, match=r"net.run: a run with another lr; use --restart to train anew"):
        fit(out, replace(SHORT, lr=1e-3))
    with pytest.raises(BadInput, match=r"a run with another head"):
        fit(out, decoder="linear")
    with pytest.raises(BadInput, match=r"a run with another set of photos"):
        fit_scenes(kept(0, 5), CLASSES, out, SHORT, validation=VALIDATION, options=SMALL)
    assert fit(out, replace(SHORT, lr=1e-3, steps=2), restart=True).best == 2
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(BadInput, match="full: holds something else than a scene head"):
        fit(tmp_path / "full")
    with pytest.raises(BadInput, match="batch=1: UPerNet pools"):
        fit(tmp_path / "new", replace(SHORT, batch=1))
    with pytest.raises(BadInput, match=r"side=64: views are larger than the photos, which were read at 48x32"):
        fit(tmp_path / "new", replace(SHORT, side=64))
    with pytest.raises(BadInput, match=r"scene 0: its mask holds 2, and there are 2 classes, 0 to 1"):
        fit_scenes(two_classes(), CLASSES[:2], tmp_path / "new", SHORT, options=SMALL)
    with pytest.raises(BadInput, match=r"validation photos were read otherwise"):
        fit(tmp_path / "new", validation=other_levels())
    assert not (tmp_path / "new").exists()
    with pytest.raises(BadInput, match=r"lr=0.0001, least_lr=0.001"):
        SceneSettings(lr=1e-4, least_lr=1e-3)


def two_classes():
    source = kept(0, 1)
    source.classes = 2
    return source


def other_levels():
    source = kept(100, 1)
    source.levels = replace(source.levels, readings=1)
    return source


def test_every_photo_is_seen_once_an_epoch():
    seen = []

    class Listing:
        names = tuple(map(str, range(6)))

        def view(self, index, rng, settings):
            seen.append(index)
            return index

        def batch(self, views):
            return views, None

    first = list(module._batches(Listing(), replace(SHORT, steps=6), 0))
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6))
    assert seen[:6] != seen[6:]
    assert list(module._batches(Listing(), replace(SHORT, steps=6), 4)) == first[4:]
