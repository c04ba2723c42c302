"""`shiftless convert` writes a folder that loads; what it cannot convert is one line."""

from __future__ import annotations

import torch
from safetensors.torch import save_file

from tests.backbones.guided_unet import guided


def test_a_checkpoint_becomes_a_folder_that_lists_its_taps(command, tmp_path):
    torch.save(guided().state_dict(), tmp_path / "net.pt")
    code, out, err = command("convert", tmp_path / "net.pt", "model", "--size", 64, "--head-channels", 16)
    assert (code, err) == (0, "")
    assert "shiftless taps model" in out
    assert command("taps", "model")[0] == 0


def test_other_checkpoints_are_refused_in_one_line(command, tmp_path):
    save_file({"weight": torch.zeros(1)}, tmp_path / "net.safetensors")
    code, out, err = command("convert", tmp_path / "net.safetensors", "model")
    assert (code, out) == (2, "")
    assert "not a UNet of guided-diffusion" in err
    assert err.count("\n") == 1
    assert command("convert", tmp_path / "net.safetensors", "model", "--heads", 4)[0] == 2
