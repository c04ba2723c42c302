"""Two processes with one view each train what one process trains with two: a head, and what learns of a model."""

from __future__ import annotations

import json
import socket
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from shiftless.backbones.registry import load
from shiftless.data.labelledphoto import LabelledPhoto
from shiftless.errors import BadInput
from shiftless.recipe import Recipe
from shiftless.training.processes import Processes
from shiftless.training.scenes import fit_scenes
from shiftless.training.scenesettings import SceneSettings
from shiftless.tuning import TunedScenes, TuneSettings, tuning
from tests.forked import WAY
from tests.training.scenedata import CLASSES, kept, scene

SETTINGS = SceneSettings(steps=3, batch=2, side=32, every=1, lr=1e-2, scales=(1.0, 1.5), colour=False)
RECIPES = (Recipe(timestep=20, taps=("up1",), size=64),)
PROMPTS = TuneSettings("prompts", tokens=2, checkpointing=False)


def train(folder, processes):
    """A head on kept features, with photos that choose the step; and one together with learned prompts."""
    options = {"device": "cpu", "processes": processes}
    fit_scenes(
        kept(0, 3), CLASSES, folder / "head", SETTINGS, validation=kept(3, 3), decoder="fpn",
        options={"width": 4, "hidden": 4}, **options,
    )  # fmt: skip
    photos = [LabelledPhoto(one.name, one.photo, one.name, one.values, len(CLASSES)) for one in map(scene, range(2))]
    with tuning(load("twin:sd15", device="cpu", dtype="fp32"), RECIPES, PROMPTS) as learned:
        source = TunedScenes(learned, RECIPES, photos, len(CLASSES), 32)
        fit_scenes(source, CLASSES, folder / "tuned", SETTINGS, decoder="linear", learned=learned, **options)


def one_of_two(index, port, folder):
    """What accelerate's launcher sets, and a share of the training."""
    import os

    os.environ |= {"WORLD_SIZE": "2", "RANK": str(index), "LOCAL_RANK": str(index), "MASTER_PORT": str(port)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    processes = Processes.launched("cpu")
    assert (processes.number, processes.index) == (2, index)
    train(folder, processes)
    processes.end()


def history(folder, name):
    return json.loads((folder / name / "training.json").read_text())["history"]


def test_two_processes_train_what_one_does(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    two = [WAY.Process(target=one_of_two, args=(index, port, tmp_path / "two")) for index in (0, 1)]
    for one in two:
        one.start()
    train(tmp_path / "one", Processes())
    for one in two:
        one.join(500)
        assert one.exitcode == 0
    for name in ("head", "tuned"):
        alone, together = history(tmp_path / "one", name), history(tmp_path / "two", name)
        assert len(alone) == len(together) == SETTINGS.steps
        for here, there in zip(alone, together):
            assert there["loss"] == pytest.approx(here["loss"], rel=1e-4)
            assert (there["miou"], there["train_miou"]) == pytest.approx((here["miou"], here["train_miou"]), abs=0.02)
    first, last = (history(tmp_path / "one", "tuned")[i]["loss"] for i in (0, -1))
    assert last != first
    prompts = [load_file(tmp_path / way / "tuned/prompts.safetensors")["tokens"] for way in ("one", "two")]
    torch.testing.assert_close(prompts[1], prompts[0], rtol=1e-2, atol=1e-4)


def test_views_that_cannot_be_shared_out_are_refused(tmp_path):
    with pytest.raises(BadInput, match="batch=3: 2 devices share the views of a step; give a multiple of that"):
        fit_scenes(
            kept(0, 3), CLASSES, tmp_path / "head", replace(SETTINGS, batch=3), decoder="linear", processes=Processes(2)
        )


def test_each_process_takes_its_own_device(monkeypatch):
    assert Processes.launched("cpu").number == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("shiftless.training.processes.choose_device", torch.device)
    with pytest.raises(BadInput, match="device cuda:1: each of several processes takes its own device; give cuda"):
        Processes.launched("cuda:1")


def test_shares_are_the_whole_and_as_equal_as_can_be():
    for number in (1, 2, 3, 8):
        shares = [Processes(number, index).share(range(5, 12)) for index in range(number)]
        assert [one for share in shares for one in share] == list(range(5, 12))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
