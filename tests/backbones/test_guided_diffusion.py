"""Converted guided-diffusion checkpoints compute what the original architecture does."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import save_file

import shiftless
from shiftless.backbones.guided_diffusion import convert, convert_checkpoint
from shiftless.taps.names import select
from tests.backbones.guided_unet import Guided, guided

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.mark.parametrize("new_order", [False, True])
@pytest.mark.parametrize(
    "changes",
    [{}, {"updown": False}, {"scale_shift": False, "sigma": False}, {"head_channels": None, "updown": False}],
    ids=["lsun", "conv", "plain", "one-head"],
)
@torch.no_grad()
def test_a_converted_network_computes_the_same(tmp_path, changes, new_order):
    net = guided(new_order=new_order, **changes)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    options = {"head_channels": changes.get("head_channels", 16), "new_attention_order": new_order, "size": 64}
    folder = convert_checkpoint(tmp_path / "net.safetensors", tmp_path / "model", **options)
    model = shiftless.load(folder, device="cpu", dtype="fp32")
    assert (model.spec.family, model.spec.size, model.spec.latent) == ("ddpm", 64, (3, 1))
    images = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    expected, outputs = net(images, 250)
    taps = {0: "up0.attn0", 2: "up0", 3: "up1.attn0", 5: "up1", 6: "up2.res0", 8: "up2"}
    ours = model.denoise(images, 250, model.encode_prompt([""]), select(list(taps.values()), model.taps), full=True)
    assert expected.std() > 0.01
    torch.testing.assert_close(ours.prediction, expected[:, :3], **CLOSE)
    for block, name in taps.items():
        torch.testing.assert_close(ours.maps[name], outputs[block], **CLOSE)


@torch.no_grad()
def test_a_network_with_classes_takes_one_as_its_prompt(tmp_path):
    net = guided(classes=10)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    folder = convert_checkpoint(tmp_path / "net.safetensors", tmp_path / "model", head_channels=16, size=64)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "id2label": {"7": "tabby, tabby cat"}}))
    model = shiftless.load(folder, device="cpu", dtype="fp32")
    assert model.spec.techniques == ("prompt", "start")
    images = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    for prompt, label in (("7", 7), ("Tabby Cat", 7), ("3", 3)):
        ours = model.denoise(images, 250, model.encode_prompt([prompt])).prediction
        torch.testing.assert_close(ours, net(images, 250, torch.tensor([label]))[0][:, :3], **CLOSE)
    for prompt, message in (("", "it got none; give the name of one"), ("10", "a number from 0 to 9$")):
        with pytest.raises(shiftless.BadInput, match=message):
            model.encode_prompt([prompt])


@torch.no_grad()
def test_the_attention_order_matters():
    images = torch.randn(1, 3, 32, 32)
    net = guided()
    made = [convert(net.state_dict(), head_channels=16, new_attention_order=new)[1] for new in (False, True)]
    assert any(not torch.equal(made[0][key], made[1][key]) for key in made[0])
    assert not torch.allclose(guided(new_order=True)(images, 50)[0], net(images, 50)[0])


def test_a_pt_file_is_read_without_running_code(tmp_path):
    net = guided()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    folder = convert_checkpoint(tmp_path / "net.pt", tmp_path / "model", head_channels=16, schedule="cosine")
    model = shiftless.load(folder, device="cpu", dtype="fp32")
    assert model.schedule.sigma(500) == pytest.approx(math.sin(math.pi / 2 * 0.504), abs=0.01)
    torch.save(net, tmp_path / "code.pt")
    with pytest.raises(shiftless.BadInput, match="not tensors alone") as raised:
        convert_checkpoint(tmp_path / "code.pt", tmp_path / "other")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "other").exists()


def lsun_shapes():
    """The names and shapes of the published 256-pixel networks: 256 channels, attention at strides 8, 16 and 32."""
    with torch.device("meta"):
        widths = [256 * times for times in (1, 1, 2, 2, 4, 4)]
        net = Guided(widths, 2, (3, 4, 5), head_channels=64, updown=True, scale_shift=True)
    return net.state_dict()


def test_the_published_networks_are_represented_and_have_the_blocks_of_ddpm_segmentation():
    from diffusers import UNet2DModel

    from shiftless.backbones.ddpm import PixelDDPM

    config, made = convert(lsun_shapes())
    assert 545e6 < sum(value.numel() for value in made.values()) < 560e6
    with torch.device("meta"):
        UNet2DModel(**config).load_state_dict(made, strict=True)
    blocks = [f"output_blocks.{n}" for n in (5, 6, 7, 8, 12)]
    taps = select(blocks, PixelDDPM.list_taps({"unet": config}))
    assert [tap.name for tap in taps] == ["up1", "up2.attn0", "up2.attn1", "up2", "up4.res0"]
    assert [tap.channels for tap in taps] == [1024, 512, 512, 512, 256]  # 2816 of them
    assert [tap.stride for tap in taps] == [8, 8, 8, 4, 2]


def changed(change):
    weights = guided().state_dict()
    change(weights)
    return weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.update({"label_emb.weight": torch.zeros(1000, 64)}), "class_embedding.weight"),
        (lambda w: w.update({"input_blocks.0.0.weight": torch.zeros(32, 6, 3, 3)}), "takes 6 channels"),
        (lambda w: w.clear(), "not a UNet of guided-diffusion"),
        (lambda w: w.pop("input_blocks.4.0.out_layers.3.weight"), "lacks input_blocks.4.0.out_layers.3.weight"),
        (lambda w: w.pop("middle_block.1.qkv.weight"), "to_q.weight is missing"),
        (lambda w: w.update({"output_blocks.8.1.qkv.weight": torch.zeros(96, 32, 1)}), "no place for output_blocks"),
        (lambda w: w.update({"input_blocks.1.0.skip_connection.weight": torch.zeros(32, 32, 3, 3)}), "conv_shortcut"),
    ],
)
def test_other_networks_are_one_line(change, message):
    with pytest.raises(shiftless.BadInput, match=message) as raised:
        convert(changed(change), head_channels=16)
    assert "\n" not in str(raised.value)


def test_options_that_do_not_fit_are_one_line(tmp_path):
    save_file(guided().state_dict(), tmp_path / "net.safetensors")
    for options, message in (
        ({"head_channels": 48}, "no multiples of head_channels=48"),
        ({"schedule": "sine"}, "schedule='sine'"),
        ({"folder": tmp_path}, "exists already"),
        ({"checkpoint": tmp_path / "other.pt"}, "no such file"),
    ):
        given = {"checkpoint": tmp_path / "net.safetensors", "folder": tmp_path / "model", **options}
        with pytest.raises(shiftless.BadInput, match=message):
            convert_checkpoint(given.pop("checkpoint"), given.pop("folder"), **given)
