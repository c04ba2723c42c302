"""`shiftless convert` writes a folder that loads; what it cannot convert is one line."""

from __future__ import annotations

import torch
from safetensors.torch import save_file

import shiftless
from tests.backbones.guided_unet import guided
from tests.backbones.test_mae_checkpoint import checkpoint as mae
from tests.backbones.test_resnet import checkpoint as resnet


def test_a_checkpoint_becomes_a_folder_that_lists_its_taps(command, tmp_path):
    torch.save(guided().state_dict(), tmp_path / "net.pt")
    code, out, err = command("convert", tmp_path / "net.pt", "model", "--size", 64, "--head-channels", 16)
    assert (code, err) == (0, "")
    assert "shiftless taps model" in out
    assert command("taps", "model")[0] == 0


def test_the_kind_is_told_from_the_weights(command, tmp_path):
    torch.save({"model": mae(width=24)}, tmp_path / "mae.pth")
    assert command("convert", "mae.pth", "mae", "--heads", 3)[0] == 0
    save_file({f"module.{name}": value for name, value in resnet().items()}, tmp_path / "swav.safetensors")
    assert command("convert", "swav.safetensors", "swav")[0] == 0
    torch.save(guided(head_channels=None, updown=False).state_dict(), tmp_path / "net.pt")
    assert command("convert", "net.pt", "ddpm", "--heads", 1, "--size", 64)[0] == 0
    families = {name: shiftless.load(name, device="cpu").spec.family for name in ("mae", "swav", "ddpm")}
    assert families == {"mae": "vit", "swav": "resnet", "ddpm": "ddpm"}


def test_other_checkpoints_are_refused_in_one_line(command, tmp_path):
    save_file({"weight": torch.zeros(1)}, tmp_path / "net.safetensors")
    code, out, err = command("convert", tmp_path / "net.safetensors", "model")
    assert (code, out) == (2, "")
    assert "none of the checkpoints that are converted: a UNet of guided-diffusion" in err
    assert err.count("\n") == 1
    torch.save(resnet(), tmp_path / "resnet.pt")
    code, _, err = command("convert", "resnet.pt", "model", "--new-attention-order")
    assert code == 2
    assert "is a ResNet with torchvision's names, for which --new-attention-order means nothing; it takes --size" in err
    torch.save(guided().state_dict(), tmp_path / "net.pt")
    assert command("convert", "net.pt", "model", "--heads", 4)[0] == 2
    assert not (tmp_path / "model").exists()
