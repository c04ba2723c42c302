"""Training of a DDPM: the world's pictures in pixel space, without an autoencoder and without words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel, __version__
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor, nn

from miniworld.training.batches import Batch
from miniworld.training.encoded_pictures import stratified
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.pictures import crops
from miniworld.training.run import Numbers
from miniworld.training.stage import Stage
from miniworld.training.unet import Denoising, noise_step, save_part
from miniworld.training.vae import to_tensor
from shiftless.errors import BadInput

NAME = "ddpm"
"""The DDPM's folder."""
N_PICTURES = 30_000
"""How many pictures a run draws for itself."""

NETWORK: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "layers_per_block": 1,
    "block_out_channels": (16, 32, 64, 128, 128),
    "down_block_types": ("DownBlock2D",) * 3 + ("AttnDownBlock2D",) * 2,
    "up_block_types": ("AttnUpBlock2D",) * 2 + ("UpBlock2D",) * 3,
    "attention_head_dim": 32,
    "norm_num_groups": 8,
}
"""The denoiser, 4.5 M parameters, 9 MB: few channels where there are many pixels, attention on the coarse grids."""

SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "prediction_type": "epsilon",
}
"""The noise schedule of the DDPMs (Ho et al. 2020)."""


def new_ddpm(seed: int = 0, **changes: Any) -> UNet2DModel:
    """Build the denoiser with random weights: pixels B 3 H W in [-1, 1] and timesteps B to the noise B 3 H W.

    >>> new_ddpm(sample_size=32)(torch.zeros(1, 3, 32, 32), 10).sample.shape
    torch.Size([1, 3, 32, 32])
    """
    torch.manual_seed(seed)
    return UNet2DModel(**{**NETWORK, **changes})


class PixelNoiseLoss(Denoising):
    """A DDPM with its training loss, in one graph that compiles."""

    def __init__(self, unet: UNet2DModel) -> None:
        super().__init__(DDPMScheduler(**SCHEDULER).alphas_cumprod)
        self.unet = unet

    def forward(self, pixels: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Give (weighted loss, plain squared error of each picture, B) of pictures B 3 H W in [-1, 1]."""
        noisy = self.noisy(pixels, noise, timesteps).to(self.unet.conv_in.weight.dtype)
        predicted = self.unet(noisy.contiguous(memory_format=torch.channels_last), timesteps).sample
        return self.loss(predicted, noise, timesteps)


def train_ddpm(
    stage: Stage,
    *,
    start_from: str | Path | None = None,
    batch: int = 16,
    lr: float = 8e-4,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Train the DDPM and write it to `ddpm` in the run's folder, every second picture mirrored.

    `start_from` is a DDPM's folder, or one that has a `ddpm` in it, to train further. Raises `BadInput` if it is not.
    """
    with stage.begin(NAME):
        data = stage.picture_folder(N_PICTURES)
        side = data[0][0].shape[0]
        new = {"sample_size": side, **(changes or {})}
        unet = new_ddpm(stage.seed, **new) if start_from is None else _existing(Path(start_from))
        network = PixelNoiseLoss(unet).train().to(stage.device)
        unet.to(memory_format=torch.channels_last)
        if stage.device.type == "cpu":
            use_plain_attention(unet)
        optimiser = Fp32MasterAdamW(network.parameters(), dtype=stage.dtype, weight_decay=0.01, ema_max=0.9995)
        run = stage.run(optimiser, lr)

        def batch_of(number: int) -> Batch:
            pixels = to_tensor(crops(data, batch, side, stage.seed, number))
            noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(stage.seed * 10**7 + number))
            return pixels, noise, stratified(np.random.default_rng([stage.seed, 7, number]), batch)

        def step(number: int, _: float) -> tuple[Tensor, int, Numbers]:
            return noise_step(loss_of, batches(number))

        loss_of, batches = stage.compiled(network, batch_of(0)), stage.batches(batch_of)
        stage.ready(network, len(data))
        run.go(step)
        return stage.write(optimiser, lambda path: save_ddpm(path, unet))


def use_plain_attention(network: nn.Module) -> None:
    """Give a DDPM's attention layers plain matrix products, whose backward is faster on a processor."""
    for module in network.modules():
        if isinstance(module, Attention):
            module.set_processor(AttnProcessor())


def save_ddpm(folder: str | Path, unet: UNet2DModel) -> None:
    """Write a folder that plain `DDPMPipeline.from_pretrained` loads, in float16 safetensors."""
    folder = Path(folder)
    save_part(unet, folder / "unet")
    DDPMScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": __version__,
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def _existing(folder: Path) -> UNet2DModel:
    found = folder / NAME if (folder / NAME).is_dir() else folder
    path = found / "unet" / "config.json"
    if not path.exists() or json.loads(path.read_text(encoding="utf-8")).get("_class_name") != "UNet2DModel":
        raise BadInput(f"{found}: no DDPM here; give the folder that holds its unet/config.json")
    unet: UNet2DModel = UNet2DModel.from_pretrained(found, subfolder="unet", torch_dtype=torch.float32)
    return unet
