"""The registry: names without weights, errors that say what to run, and nothing from the network."""

from __future__ import annotations

import socket

import pytest
import torch
from diffusers import UNet2DConditionModel

import shiftless
from shiftless import BadInput
from shiftless.backbones.registry import find, models, taps, untrained
from shiftless.taps.hooks import tapped
from shiftless.taps.layout import Layout


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    def refuse(*_args, **_kwargs):
        raise AssertionError("something reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("HF_HOME", str(tmp_path))


@pytest.mark.parametrize("name", ["sd15", "sd21"])
def test_listed_taps_are_those_of_the_real_network(name):
    """A whole forward pass of the full-size network on the meta device: shapes without weights or time."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**models()[name]["unet"])
        latent, words = torch.empty(1, 4, 64, 64), torch.empty(1, 77, models()[name]["unet"]["cross_attention_dim"])
        listed = taps(name)
        by_name = {tap.name: tap for tap in listed}
        with tapped(unet, listed, layout=Layout((512, 512)), by_name=by_name, stop=False) as captured:
            unet(latent, torch.tensor([50], device="meta"), words)
    for tap, value in zip(listed, captured.maps().values()):
        _, c, h, w = value.shape
        heads = c // (77 if ".cross." in tap.name else h * w) if tap.kind == "heads" else 1
        expected = tap.channels or heads * (77 if ".cross." in tap.name else h * w)
        assert (c, h * tap.stride, w * tap.stride) == (expected, 512, 512), tap


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("sd15", "shiftless fetch sd15"),
        ("sd21", "shiftless fetch sd21"),
        ("someone/some-model", "shiftless fetch someone/some-model"),
    ],
)
def test_a_missing_model_says_exactly_what_to_run(name, command):
    with pytest.raises(BadInput, match="fetch it once with") as caught:
        shiftless.load(name)
    assert command in str(caught.value)


@pytest.mark.parametrize("name", ["sd51", "./nowhere/model", "twin:sd99", ""])
def test_no_such_model(name):
    with pytest.raises(BadInput, match="no such"):
        shiftless.load(name)


def test_a_fetched_mirror_serves_the_alias(monkeypatch, tmp_path):
    requested = []

    def snapshot(hub_id, local_files_only):
        requested.append(hub_id)
        if hub_id.startswith("stabilityai/"):
            return str(tmp_path)
        from huggingface_hub.errors import LocalEntryNotFoundError

        raise LocalEntryNotFoundError("not here")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert find("sd21") == tmp_path
    assert requested == models()["sd21"]["hub"]


def test_untrained_is_the_same_network_with_other_weights():
    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    control = untrained(model, seed=1)
    assert control.unet.config == model.unet.config
    assert control.vae is model.vae
    assert not torch.equal(control.unet.conv_in.weight, model.unet.conv_in.weight)
    torch.testing.assert_close(control.schedule.alphas_cumprod, model.schedule.alphas_cumprod, atol=1e-6, rtol=1e-5)
    assert torch.equal(untrained(model, seed=1).unet.conv_in.weight, control.unet.conv_in.weight)
