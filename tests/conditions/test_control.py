"""ControlNets: names, maps, weights from disk, and refusal of what does not fit."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import shiftless
from shiftless.backbones.twin_controls import twin_control
from shiftless.conditions.condition import Steer
from shiftless.conditions.control import load_control, own_controls, read_name
from shiftless.conditions.control_classes import check_fit
from shiftless.conditions.control_maps import canny
from shiftless.conditions.unet_config import read_controlnet
from shiftless.conditions.unet_residuals import residuals
from shiftless.errors import BadInput


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


def load(model, name, own=None):
    place = {"stride": 8, "device": torch.device("cpu"), "dtype": torch.float32, "encode": model.encode_map}
    return load_control(name, own or {}, model.unet, **place)


@given(st.text(max_size=30))
def test_any_name_is_read_or_refused_in_one_line(name):
    try:
        kind, where = read_name(name, {"canny": "own"})
    except BadInput:
        return
    assert kind in ("canny", "depth", "tile")
    assert where


def test_a_name_that_could_be_two_kinds_must_say_which():
    with pytest.raises(BadInput, match="say what map it follows"):
        read_name("nets/canny-and-depth", {})
    assert read_name("depth=nets/canny-and-depth", {}) == ("depth", "nets/canny-and-depth")


def test_edges_are_where_brightness_jumps_and_nowhere_else():
    pixels = -torch.ones(2, 3, 32, 32)
    pixels[0, :, 8:24, 8:24] = 1
    edges = canny(pixels)
    assert edges.shape == (2, 3, 32, 32)
    assert set(edges.unique().tolist()) == {0.0, 1.0}
    assert not edges[1].any()
    assert not edges[0, :, 10:22, 10:22].any()
    assert edges[0, 0, 16].nonzero().numel() == 2


def test_weights_come_from_disk_and_add_up(model, tmp_path):
    nets = [twin_control(model.unet, 8, seed) for seed in (0, 1)]
    nets[0].save_pretrained(tmp_path / "controlnet-canny")
    assert own_controls(tmp_path) == {"canny": str(tmp_path / "controlnet-canny")}
    loaded = load(model, "canny", own_controls(tmp_path)).net
    latent, embeds = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 32)
    image = torch.rand(2, 3, 64, 64)
    first = residuals([Steer(loaded, image)], latent, 50, embeds)
    second = residuals([Steer(nets[1], image, 0.5)], latent, 50, embeds)
    both = residuals([Steer(loaded, image), Steer(nets[1], image, 0.5)], latent, 50, embeds)
    key = "mid_block_additional_residual"
    torch.testing.assert_close(both[key], first[key] + second[key])
    name = "down_block_additional_residuals"
    for a, b, total in zip(first[name], second[name], both[name], strict=True):
        torch.testing.assert_close(total, a + b)


def test_another_family_or_size_is_refused(model, tmp_path):
    from diffusers import UNet2DConditionModel

    config = {**model.unet.config, "block_out_channels": [32, 64, 64, 32]}
    other = twin_control(UNet2DConditionModel.from_config(config), 8)
    with pytest.raises(BadInput, match="for another model \\(block_out_channels is"):
        check_fit(other, model.unet, 8, "other")
    with pytest.raises(BadInput, match="shrinks its map 4 times, the model's images 8 times"):
        check_fit(twin_control(model.unet, 4), model.unet, 8, "other")
    other.save_pretrained(tmp_path / "canny")
    with pytest.raises(BadInput, match="canny: this ControlNet is for another model"):
        load(model, str(tmp_path / "canny"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("canny", "this model has no such ControlNet"),
        ("nowhere/at/all/canny", "no such ControlNet folder"),
        ("someone/never-fetched-canny", "shiftless fetch someone/never-fetched-canny"),
        ("what", "say what map it follows"),
    ],
)
def test_what_is_not_there_is_told(model, name, message):
    with pytest.raises(BadInput, match=message):
        load(model, name)


def test_broken_folders_are_named(model, tmp_path):
    (tmp_path / "canny").mkdir()
    with pytest.raises(BadInput, match=r"no safetensors weights here \(diffusion_pytorch_model"):
        load(model, str(tmp_path / "canny"))
    (tmp_path / "canny" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    (tmp_path / "canny" / "config.json").write_text("{}")
    with pytest.raises(BadInput, match=r"diffusion_pytorch_model\.safetensors: not a whole safetensors file"):
        load(model, str(tmp_path / "canny"))


@pytest.mark.parametrize("order", ["xxx", float("nan"), 3])
def test_an_unknown_channel_order_is_refused_where_the_config_is_read(tmp_path, order):
    (tmp_path / "config.json").write_text(json.dumps({"controlnet_conditioning_channel_order": order}))
    with pytest.raises(BadInput, match=r"config\.json: 'controlnet_conditioning_channel_order'"):
        read_controlnet(tmp_path)


def test_both_channel_orders_are_read(tmp_path):
    for order in ("rgb", "bgr"):
        (tmp_path / "config.json").write_text(json.dumps({"controlnet_conditioning_channel_order": order}))
        assert read_controlnet(tmp_path)["controlnet_conditioning_channel_order"] == order
