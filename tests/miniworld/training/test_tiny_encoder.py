"""The stage tiny-encoder: latents of a small autoencoder, learned by a smaller network, on ten small pictures."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from miniworld.training.architecture import new_vae
from miniworld.training.pictures import PictureFolder
from miniworld.training.stage import Stage
from miniworld.training.tiny_encoder import ENCODER, TinyEncoderLoss, train_tiny_encoder
from miniworld.training.vae import to_tensor
from shiftless.backbones.tiny_encoder import check_fit, load_tiny_encoder
from shiftless.errors import BadInput

SMALL = {"encoder_block_out_channels": (8, 8, 8), "num_encoder_blocks": (0, 0, 1)}


@pytest.fixture(scope="module")
def vae():
    return new_vae(block_out_channels=(8, 8, 8), scaling_factor=0.5).eval()


@pytest.fixture
def train(drawn, vae, tmp_path):
    vae.save_pretrained(tmp_path / "model" / "vae")

    def run(out, images=8, **options):
        stage = Stage(out, images=images, pictures=drawn, draw=False, device="cpu", compile=False, **options)
        return train_tiny_encoder(stage, model=tmp_path / "model", batch=4, changes=SMALL)

    return run


def test_the_loss_is_zero_for_the_autoencoder_s_own_scaled_latents_and_missed_is_a_share_of_their_variance(vae):
    class Own(torch.nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def forward(self, x):
            return vae.encode(x).latent_dist.mean * self.factor

    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    loss, missed = TinyEncoderLoss(vae, Own(0.5))(pictures)
    assert (loss.item(), missed.item()) == (0.0, 0.0)
    latents = vae.encode(pictures).latent_dist.mean * 0.5
    _, missed = TinyEncoderLoss(vae, Own(0.0))(pictures)
    assert missed.item() == pytest.approx((latents.square().mean() / latents.var()).item(), rel=1e-5)


def test_two_steps_write_a_folder_that_a_recipe_can_name_and_a_log(train, tmp_path, vae):
    folder = train(tmp_path / "out")
    assert folder == tmp_path / "out" / "taesd"
    encoder = load_tiny_encoder(folder)
    check_fit(encoder, (4, 4), "taesd")
    assert encoder(torch.zeros(1, 3, 32, 64)).shape == vae.encode(torch.zeros(1, 3, 32, 64)).latent_dist.mean.shape
    saved = load_file(folder / "diffusion_pytorch_model.safetensors")
    assert {one.dtype for one in saved.values()} == {torch.float16}
    assert {name.partition(".")[0] for name in saved} == {"encoder"}
    lines = [json.loads(line) for line in (tmp_path / "out" / "tiny-encoder.log.jsonl").read_text().splitlines()]
    assert lines[-1]["images"] == 8
    assert lines[-1]["missed"] > 0


def test_steps_come_nearer_to_the_latents(train, tmp_path, drawn, vae):
    pictures = to_tensor(PictureFolder(drawn).shards[0][0])
    missed = [
        TinyEncoderLoss(vae, load_tiny_encoder(train(tmp_path / str(images), images)).net)(pictures)[1].item()
        for images in (4, 60)
    ]
    assert missed[1] < 0.97 * missed[0]


def test_the_real_size_takes_less_than_two_megabytes():
    from diffusers import AutoencoderTiny

    assert sum(one.numel() for one in AutoencoderTiny(**ENCODER).encoder.parameters()) * 2 < 2e6


def test_a_folder_without_an_autoencoder_is_refused(drawn, tmp_path):
    stage = Stage(tmp_path / "out", images=4, pictures=drawn, draw=False, device="cpu")
    with pytest.raises(BadInput, match="no vae here, whose latents a tiny encoder learns"):
        train_tiny_encoder(stage, model=tmp_path)
