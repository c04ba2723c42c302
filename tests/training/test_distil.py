"""Distillation: pictures, labels and a network in one call, which goes on where it was killed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import shiftless
from shiftless.backbones.generation import generate
from shiftless.data.labelled import read_labelled
from shiftless.errors import BadInput
from shiftless.image import open_photo
from shiftless.training import pseudolabels
from shiftless.training.distil import Generated, distil
from shiftless.training.network import NetworkSettings
from tests.training.coloured import CLASSES, TINY, coloured
from tests.training.colourhead import Streams, colour_head, unsure

SETTINGS = NetworkSettings(steps=4, batch=2, lr=1e-2, every=2)
READERS = [SimpleNamespace(model=SimpleNamespace(device=torch.device("cpu")))]


@pytest.fixture(scope="module")
def head():
    return colour_head()


@pytest.fixture(scope="module")
def ddpm():
    return shiftless.load("twin:ddpm-bedroom", device="cpu", dtype="fp32")


@pytest.fixture(autouse=True)
def streams(monkeypatch):
    made = Streams()
    monkeypatch.setattr(pseudolabels, "stream_together", made)
    return made


def run(head, pictures, out, settings=SETTINGS, **options):
    return distil(head, READERS, pictures, out, settings, architecture=TINY, **options)


def test_a_network_learns_from_what_the_head_says_of_photos(head, tmp_path):
    photos = [*(coloured(seed).photo for seed in range(9)), unsure(3)]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    made = run(head, [*photos, tmp_path / "broken.png"], tmp_path / "net")
    assert [one.name for one in made.labels.dropped] == ["000009"]
    assert len(made.skipped) == 1
    assert "broken.png" in made.skipped[0]
    assert made.fitted.network.classes == CLASSES
    assert [row["step"] for row in made.fitted.history] == [2, 4]
    assert read_labelled(tmp_path / "net.run/set").classes == CLASSES
    assert all((one.mask() == coloured(seed).labels).mean() > 0.9 for seed, one in enumerate(made.labels))


def test_pictures_are_generated_once_and_more_of_them_are_added(head, ddpm, tmp_path, monkeypatch):
    calls = []
    make = Generated.make
    monkeypatch.setattr(Generated, "make", lambda self, *where: calls.append(where) or make(self, *where))
    how = {"steps": 1, "size": 32, "seed": 2, "batch": 2}
    first = run(head, Generated(ddpm, 4, **how), tmp_path / "net", drop=0.25)
    assert calls == [(0, 0), (0, 4)]  # the first is asked whether the model takes the settings
    assert len(first.labels) == 3
    pictures = list(generate(ddpm, 6, **how))
    (tmp_path / "net.run/set/images/000001.png").unlink(missing_ok=True)
    (tmp_path / "net.run/left_out/images/000001.png").unlink(missing_ok=True)
    more = run(head, Generated(ddpm, 6, **how), tmp_path / "net", drop=0.0, restart=True)
    assert calls[3:] == [(1, 1), (4, 2)]  # what is missing, in runs of numbers
    for one, picture in zip(more.labels, pictures, strict=True):
        shown = open_photo(one.photo).array.astype(int)
        assert np.abs(shown - picture).max() <= 1  # a batch of another size rounds to other numbers


def test_pictures_of_other_settings_are_refused_and_dropped_only_when_told(head, ddpm, tmp_path):
    out = tmp_path / "net"
    how = {"steps": 1, "size": 32}
    run(head, Generated(ddpm, 2, **how), out)
    before = sorted(path.name for path in (tmp_path / "net.run").rglob("*.png"))
    for other, what in (
        (Generated(ddpm, 2, seed=1, **how), "seed"),
        (Generated(ddpm, 2, steps=2, size=32), "steps"),
        ([coloured(0).photo], "source of pictures"),
    ):
        with pytest.raises(BadInput, match=f"pictures of a run with another {what}; use --restart to drop them"):
            run(head, other, out)
    assert sorted(path.name for path in (tmp_path / "net.run").rglob("*.png")) == before
    made = run(head, [coloured(0).photo], out, restart=True)
    assert [one.name for one in made.labels] == ["000000"]
    assert len(list((tmp_path / "net.run").rglob("*.png"))) == 2


def test_a_run_that_is_killed_anywhere_gives_the_same_network(head, tmp_path, monkeypatch, ddpm):
    pictures = Generated(ddpm, 4, steps=1, size=32, batch=1)
    whole = run(head, pictures, tmp_path / "whole")
    write = pseudolabels.write_atomic
    with monkeypatch.context() as patch:
        for place in ("images/000002.png", "masks/000001.png", "classes.json"):

            def killed(path, content, place=place):
                if str(path).endswith(place):
                    raise KeyboardInterrupt
                return write(path, content)

            patch.setattr(pseudolabels, "write_atomic", killed)
            with pytest.raises(KeyboardInterrupt):
                run(head, pictures, tmp_path / "killed")
    again = run(head, pictures, tmp_path / "killed")
    assert again.fitted.network.fingerprint == whole.fitted.network.fingerprint
    assert again.labels.identity == whole.labels.identity


def test_what_the_model_refuses_is_refused_before_anything_is_written(head, ddpm, tmp_path):
    for pictures, options in ((Generated(ddpm, 2, prompt="a bed"), {}), ([coloured(0).photo], {"drop": 1.0})):
        with pytest.raises(BadInput, match=r"takes no text|share of pictures"):
            run(head, pictures, tmp_path / "net", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_beside_it_is_left_alone(head, tmp_path):
    (tmp_path / "net.run").mkdir()
    (tmp_path / "net.run" / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"net\.run: not the folder of a run; move it away, or give another --out"):
        run(head, [coloured(0).photo], tmp_path / "net")
    assert [path.name for path in (tmp_path / "net.run").iterdir()] == ["mine.txt"]
    (tmp_path / "net.run" / "pictures.json").write_text(json.dumps(["?"]))
    with pytest.raises(BadInput, match="use --restart"):
        run(head, [coloured(0).photo], tmp_path / "net")
