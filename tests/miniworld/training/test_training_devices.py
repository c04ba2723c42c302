"""Every stage of training on a simulated GPU: what one step learns there is what it learns on the CPU."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from safetensors.torch import load_file

from miniworld.training.architecture import new_text_encoder, new_unet, new_vae
from miniworld.training.attention import PlainAttention
from miniworld.training.captioner import train_captioner
from miniworld.training.control import train_controlnet
from miniworld.training.labelled import FIRST, draw_shard
from miniworld.training.oracle import train_oracle
from miniworld.training.stage import Stage
from miniworld.training.unet import NoiseLoss, save_part, train_unet
from miniworld.training.vae import train_vae
from shiftless.training.checkpoint import load_checkpoint
from tests.simulated_device import simulated

TINY_VAE = {"block_out_channels": (8, 8, 16), "norm_num_groups": 4, "sample_size": 32}
TINY_UNET = {"block_out_channels": (8, 16, 16), "norm_num_groups": 4, "attention_head_dim": 2, "sample_size": 8}
SHORT = {"num_hidden_layers": 1}
TINY = {"depths": (1, 1, 1), "hidden_sizes": (8, 16, 32), "num_attention_heads": (1, 1, 1)}
STAGES = {
    "vae": (train_vae, {"crop": 16, "changes": TINY_VAE}),
    "unet": (train_unet, {"changes": TINY_UNET}),
    "controlnet": (train_controlnet, {}),
    "captioner": (train_captioner, {"changes": {**TINY, "n_embd": 32, "n_layer": 1, "n_head": 2}}),
    "oracle": (train_oracle, {"changes": {**TINY, "decoder_hidden_size": 16}}),
}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    draw_shard((str(folder), FIRST, 8, 32))
    return folder


@pytest.mark.parametrize("name", STAGES)
def test_a_step_on_a_device_is_that_of_the_cpu(name, tmp_path, drawn, labelled, tokenizer, monkeypatch):
    networks = new_vae(**TINY_VAE), tokenizer, new_text_encoder(tokenizer, **SHORT), new_unet(**TINY_UNET)
    for module in ("vae", "unet", "control", "stage"):  # written by the libraries, see below
        monkeypatch.setattr(f"miniworld.training.{module}.swap_folder", lambda *_: None)
    # kept in memory: the stand-in knows nothing of the libraries' way to load weights
    monkeypatch.setattr("miniworld.training.unet.AutoencoderKL.from_pretrained", lambda *_, **__: networks[0])
    monkeypatch.setattr("miniworld.training.unet.new_text_encoder", lambda *_: new_text_encoder(tokenizer, 0, **SHORT))
    monkeypatch.setattr("miniworld.training.control.load_pipeline", lambda _: networks)
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").touch()
    monkeypatch.setattr("miniworld.training.oracle.STATISTICS", 1)
    monkeypatch.setattr("miniworld.training.stage.choose_dtype", lambda *_: torch.float32)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    seen = attention_seen(monkeypatch)
    train, options = STAGES[name]
    if name == "unet":
        options = {**options, "vae": tmp_path / "vae"}
    learned = {}
    for device in ("cpu", "cuda:1"):
        with nullcontext() if device == "cpu" else simulated(device, monkeypatch):
            how = {"pictures": labelled if name == "oracle" else drawn, "draw": False, "compile": False}
            train(Stage(tmp_path / device, images=4 if name != "vae" else 1, device=device, **how), batch=4, **options)
        learned[device], _ = load_checkpoint(next((tmp_path / device).glob("*.checkpoint")))
    for key, here in learned["cpu"].items():
        near = 2e-3 if key.startswith("master") else 1e-4
        torch.testing.assert_close(learned["cuda:1"][key], here, atol=near, rtol=0.02)
    if name == "unet":
        assert seen == {("cpu", PlainAttention), ("cuda", AttnProcessor2_0)}


def attention_seen(monkeypatch):
    """Collect where denoisers predict, and with which attention."""
    seen, predict = set(), NoiseLoss.predict

    def noted(self, noisy, *others):
        seen.update((noisy.device.type, type(one)) for one in self.unet.attn_processors.values())
        return predict(self, noisy, *others)

    monkeypatch.setattr(NoiseLoss, "predict", noted)
    return seen


def test_weights_are_written_from_a_device(tmp_path, monkeypatch):
    vae = new_vae(**TINY_VAE)
    expected = {name: tensor.half() for name, tensor in vae.state_dict().items()}
    with simulated("cuda:1", monkeypatch) as device:
        save_part(vae.to(device), tmp_path)
        assert next(vae.parameters()).device == device
    written = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(written[name], tensor) for name, tensor in expected.items())
