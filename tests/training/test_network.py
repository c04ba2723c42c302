"""Training a segmentation network: it learns, it goes on where it was killed, and it refuses what is not its own."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import SegformerForSemanticSegmentation

from shiftless.errors import BadInput
from shiftless.metrics.segmentation import IGNORE, Confusion
from shiftless.training import network as module
from shiftless.training.network import NetworkSettings, _batches, fit_network
from shiftless.training.segmentation_network import SegmentationNetwork
from tests.simulated_device import simulated
from tests.training.coloured import CLASSES, PALETTE, TINY, Coloured, coloured

PHOTOS = [coloured(seed) for seed in range(6)]
SETTINGS = NetworkSettings(steps=60, batch=6, lr=1e-2, every=20, seed=3)
SHORT = replace(SETTINGS, steps=6, batch=2, every=2)


def fit(out, settings=SHORT, photos=PHOTOS, **options):
    given = {"architecture": TINY, "palette": PALETTE, "device": "cpu"}
    return fit_network(photos, CLASSES, out, settings, **{**given, **options})


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("nets") / "net", SETTINGS)


def test_it_learns_two_colours(learned):
    counted = Confusion(2)
    for one in (coloured(seed, (40, 56)) for seed in range(20, 24)):
        counted.add(one.labels, learned.network.predict(one.photo).mask)
    assert counted.miou() > 0.8
    losses = [row["loss"] for row in learned.history]
    assert [row["step"] for row in learned.history] == [20, 40, 60]
    assert losses[-1] < losses[0] / 1.3


def test_the_folder_is_one_of_transformers(learned):
    assert sorted(path.name for path in learned.folder.iterdir()) == [
        "config.json", "model.safetensors", "preprocessor_config.json",
    ]  # fmt: skip
    plain = SegformerForSemanticSegmentation.from_pretrained(learned.folder).eval()
    assert plain.config.id2label == dict(enumerate(CLASSES))
    opened = SegmentationNetwork.open(learned.folder, device="cpu")
    assert (opened.classes, opened.palette, opened.side) == (CLASSES, PALETTE, 32)
    assert opened.fingerprint == learned.network.fingerprint
    parts, again = (one.predict(PHOTOS[0].photo) for one in (learned.network, opened))
    assert (parts.mask == again.mask).all()
    assert (parts.uncertainty == again.uncertainty).all()


def states(out):
    from safetensors.torch import load_file

    return load_file(out / "model.safetensors")


def test_a_run_that_is_killed_goes_on_to_the_same_network(tmp_path, monkeypatch):
    whole = fit(tmp_path / "whole")
    learn = module._Training.learn
    for stop in (1, 3):  # before the first checkpoint, and after one

        def killed(self, *views, stop=stop):
            if self.step == stop:
                raise KeyboardInterrupt
            learn(self, *views)

        with monkeypatch.context() as patch:
            patch.setattr(module._Training, "learn", killed)
            with pytest.raises(KeyboardInterrupt):
                fit(tmp_path / "killed")
        assert not (tmp_path / "killed").exists()
    again = fit(tmp_path / "killed", replace(SHORT, every=5))  # how often it is saved is no part of a run
    assert [row["loss"] for row in again.history][-1] == whole.history[-1]["loss"]
    one, other = states(tmp_path / "whole"), states(tmp_path / "killed")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_device_learns_what_the_cpu_learns_and_goes_on_there(tmp_path, monkeypatch):
    settings = replace(SHORT, steps=2, every=1)
    still = {**TINY, "drop_path_rate": 0.0, "classifier_dropout_prob": 0.0}  # which devices draw differently
    here = fit(tmp_path / "cpu", settings, architecture=still)
    learn, stop = module._Training.learn, True

    def killed(self, *views):
        if self.step == 1 and stop:
            raise KeyboardInterrupt
        learn(self, *views)

    monkeypatch.setattr(module._Training, "learn", killed)
    with simulated("cuda:1", monkeypatch) as device:
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "device", settings, architecture=still, device=device)
        stop = False
        there = fit(tmp_path / "device", settings, architecture=still, device=device)
        assert there.network.predict(PHOTOS[0].photo).mask.shape == (32, 32)
    losses = [[row["loss"] for row in one.history] for one in (here, there)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_network_that_is_killed_while_it_is_written_is_written_by_the_next_call(tmp_path, monkeypatch):
    from shiftless.training import segmentation_network

    write = segmentation_network.write_atomic

    def killed(path, content):
        if path.name == "config.json":
            raise KeyboardInterrupt
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(segmentation_network, "write_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path / "net")
    assert not SegmentationNetwork.is_at(tmp_path / "net")
    fit(tmp_path / "net")
    assert SegmentationNetwork.open(tmp_path / "net", device="cpu").classes == CLASSES


def test_a_run_of_other_settings_or_photos_is_refused(tmp_path):
    fit(tmp_path / "net")
    for settings, photos, options, what in (
        (replace(SHORT, lr=1e-3), PHOTOS, {}, "lr"),
        (SHORT, PHOTOS[:3], {}, "photos"),
        (SHORT, PHOTOS, {"identity": "relabelled"}, "photos"),
        (SHORT, PHOTOS, {"architecture": {**TINY, "decoder_hidden_size": 8}}, "architecture"),
    ):
        with pytest.raises(BadInput, match=rf"a run with other settings \({what}\); use --restart to train anew"):
            fit(tmp_path / "net", settings, photos, **options)
    anew = fit(tmp_path / "net", replace(SHORT, lr=1e-3), restart=True)
    assert [row["step"] for row in anew.history] == [2, 4, 6]
    assert fit(tmp_path / "net", replace(SHORT, lr=1e-3)).history == anew.history  # a finished run takes no more steps


def test_a_folder_of_something_else_is_not_written_to(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("mine")
    for place in (tmp_path / "photos", tmp_path / "photos" / "a.txt"):
        with pytest.raises(BadInput, match="give the name of a new folder"):
            fit(place)
    assert (tmp_path / "photos" / "a.txt").read_text() == "mine"


def test_pixels_without_a_label_teach_nothing(tmp_path):
    def with_patch(values):
        labels = PHOTOS[0].labels.copy()
        labels[:8] = IGNORE
        photo = PHOTOS[0].photo.copy()
        return (
            Coloured("one", photo, labels) if values is None else Coloured("one", photo, np.full_like(labels, values))
        )

    settings = replace(SHORT, steps=1, batch=2, every=1)
    nothing = fit(tmp_path / "nothing", settings, [with_patch(IGNORE)])
    assert nothing.history[-1]["loss"] == 0
    some = fit(tmp_path / "some", settings, [with_patch(None)])
    assert some.history[-1]["loss"] > 0


def test_trained_weights_are_gone_on_from_with_a_new_head(learned, tmp_path):
    settings = replace(SHORT, steps=1, every=1, lr=1e-12)
    given = {"architecture": str(learned.folder), "device": "cpu"}
    fit_network([coloured(0)], ("a", "b", "c"), tmp_path / "three", settings, **given)
    before, after = states(learned.folder), states(tmp_path / "three")
    encoder = [name for name in before if name.startswith("segformer.")]
    assert len(encoder) > 20
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in encoder)
    assert after["decode_head.classifier.weight"].shape[0] == 3
    assert NetworkSettings().lr is None
    began = json.loads((tmp_path / "three.run/checkpoint/checkpoint.json").read_text())
    assert began["numbers"]["step"] == 1


def test_views_depend_on_their_number_alone():
    whole = list(_batches(PHOTOS, 2, replace(SHORT, side=32), 0))
    later = list(_batches(PHOTOS, 2, replace(SHORT, side=32), 4))
    assert [len(whole), len(later)] == [6, 2]
    assert all(torch.equal(a, b) for one, other in zip(whole[4:], later) for a, b in zip(one, other))
    assert not torch.equal(whole[0][0], whole[1][0])


def test_every_photo_is_shown_once_in_a_pass():
    flat = [Coloured(str(i), np.full((32, 32, 3), i, np.uint8), np.zeros((32, 32), np.uint8)) for i in range(6)]
    settings = replace(SHORT, side=32, scales=(1.0, 1.0), steps=6)
    shown = torch.cat([photos[:, 0, 0, 0] for photos, _ in _batches(flat, 2, settings, 0)])
    assert [sorted(one.tolist()) for one in shown.split(6)] == [list(range(6))] * 2
    assert shown[:6].tolist() != shown[6:].tolist()


def test_the_rate_grows_then_falls_to_nothing():
    settings = NetworkSettings(steps=100, warmup=0.1, lr=2.0, power=1.0)
    rates = [settings.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert np.argmax(rates) == 9
    assert rates[50] == pytest.approx(1.0)
    assert 0 < rates[-1] < 0.03


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "give at least 1"),
        ({"side": 40}, "give a multiple of 32 pixels"),
        ({"scales": (2.0, 1.0)}, "give positive numbers"),
        ({"warmup": 2.0}, "a warmup from 0 to 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, message):
    with pytest.raises(BadInput, match=message):
        NetworkSettings(**values)


def test_labels_that_are_no_class_are_refused(tmp_path):
    wrong = Coloured("a.png", PHOTOS[0].photo, PHOTOS[0].labels + 1)
    with pytest.raises(BadInput, match=r"a\.png: its mask holds 2, and there are 2 classes"):
        fit(tmp_path / "net", photos=[wrong])
    with pytest.raises(BadInput, match="no labelled photos"):
        fit(tmp_path / "net", photos=[])
