"""Stage 1: the autoencoder learns the world's pictures."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from miniworld.training.architecture import new_vae
from miniworld.training.batches import Batch
from miniworld.training.checkpoint import swap_folder
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.pictures import PictureFolder, crops, unseen
from miniworld.training.run import Numbers
from miniworld.training.stage import Stage

N_PICTURES = 8000
"""How many pictures a run draws for itself."""


class VaeLoss(nn.Module):
    """An autoencoder with its training loss, in one graph that compiles.

    The loss is the absolute error of pixels, of their differences to the right and below (edges), and of 4 x 4 means
    (colour), a little squared error for what is far off, and a Kullback-Leibler term that keeps latents near a
    standard normal (Kingma and Welling 2014; its weight is small as in Rombach et al. 2022).
    """

    def __init__(self, vae: AutoencoderKL, kl: float = 3e-5) -> None:
        super().__init__()
        self.vae, self.kl = vae, kl

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Give (loss, mean squared error) of pictures B 3 H W in [-1, 1] with noise B 4 H/4 W/4."""
        seen = x.to(self.vae.quant_conv.weight.dtype)  # a frozen encoder stays in fp32
        mean, logvar = self.vae.quant_conv(self.vae.encoder(seen)).chunk(2, dim=1)
        mean, logvar = mean.float(), logvar.float().clamp(-30, 20)
        z = mean + noise * (0.5 * logvar).exp()
        y = self.vae.decoder(self.vae.post_quant_conv(z.to(x.dtype))).float()
        d = y - x.float()
        right, down = d[..., :, 1:] - d[..., :, :-1], d[..., 1:, :] - d[..., :-1, :]
        edges = right.abs().mean() + down.abs().mean()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        square = d.square().mean()
        loss = d.abs().mean() + 0.25 * edges + 0.5 * F.avg_pool2d(d, 4).abs().mean() + square + self.kl * kl
        return loss, square.detach()


def to_tensor(images: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
    """Turn B H W 3 uint8 into B 3 H W in [-1, 1], channels last in memory."""
    return (torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1).to(dtype)


def train_vae(
    stage: Stage,
    *,
    start_from: str | Path | None = None,
    batch: int = 16,
    crop: int = 64,
    whole: float = 0.35,
    lr: float = 1.5e-3,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Train the autoencoder and write it to `vae` in the run's folder.

    It learns from random crops of `crop` pixels, and for the last `whole` part of the run from whole pictures (a
    quarter as many in a batch), so that group norms meet the statistics they will work with.

    Of an autoencoder to start from, only the decoder is trained: latents stay what they are, and with them everything
    that was trained on latents.
    """
    with stage.begin("vae") as log:
        data = stage.picture_folder(N_PICTURES)
        side = data[0][0].shape[0]
        vae = new_vae(stage.seed, **(changes or {})) if start_from is None else _existing(Path(start_from))
        encodes = start_from is None
        for part in (vae.encoder, vae.quant_conv):
            part.requires_grad_(encodes)
        vae.train().to(stage.device, memory_format=torch.channels_last)
        learning = [p for p in vae.parameters() if p.requires_grad]
        optimiser = Fp32MasterAdamW(learning, dtype=stage.dtype, weight_decay=0.0, ema_max=0.998)
        run = stage.run(optimiser, lr)

        def batch_of(number: int, rows: int, size: int) -> Batch:
            x = to_tensor(crops(data, rows, size, stage.seed, number), stage.dtype)
            generator = torch.Generator().manual_seed(stage.seed * 10**7 + number)
            noise = torch.randn(rows, 4, size // 4, size // 4, generator=generator)
            return x.contiguous(memory_format=torch.channels_last), noise

        shapes = (batch, crop), (max(1, batch // 4), side)  # of crops, and of whole pictures
        batches = [stage.batches(partial(batch_of, rows=rows, size=size)) for rows, size in shapes]

        def step(number: int, progress: float) -> tuple[Tensor, int, Numbers]:
            part = int(progress >= 1 - whole)
            loss, square = loss_of(*batches[part](number))
            rows, size = shapes[part]
            pictures = max(1, round(rows * (size / side) ** 2))  # counted in whole pictures, whatever the crop
            return loss, pictures, {"psnr": 10 * (4 / square.clamp(min=1e-12)).log10()}

        loss_of = stage.compiled(VaeLoss(vae), *(batch_of(0, *shape) for shape in shapes))
        stage.ready(vae, len(data))
        run.go(step)
        optimiser.load_average()
        vae.cpu()
        if encodes:
            standardise(vae, data)
        swap_folder(stage.out / "vae", lambda path: vae.half().save_pretrained(path))
        log.say(f"written to {stage.out / 'vae'}")
    return stage.out / "vae"


def _existing(folder: Path) -> AutoencoderKL:
    vae: AutoencoderKL = AutoencoderKL.from_pretrained(
        folder / "vae" if (folder / "vae").exists() else folder, torch_dtype=torch.float32
    )
    return vae


@torch.no_grad()
def standardise(vae: AutoencoderKL, data: PictureFolder, n: int = 256) -> None:
    """Fold each latent channel's mean and deviation into the 1 x 1 convolutions on both sides of the latent.

    Pipelines scale latents by one factor and cannot shift them, so a denoiser would have to learn the channels'
    means; folded, every channel has mean 0 and deviation 1, the scaling factor is 1, and pictures stay the same.
    """
    vae.float().eval()
    rng = np.random.default_rng(0)
    images = np.stack([data[int(i)][0] for i in rng.integers(0, len(data), n)])
    latents = torch.cat([vae.encode(to_tensor(images[i : i + 32])).latent_dist.mean for i in range(0, n, 32)])
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    c = len(mean)
    before, after = vae.quant_conv, vae.post_quant_conv
    after.bias += (after.weight[:, :, 0, 0] @ mean[:, None])[:, 0]
    after.weight *= std[None, :, None, None]
    before.weight[:c] /= std[:, None, None, None]
    before.bias[:c] = (before.bias[:c] - mean) / std
    before.bias[c:] -= 2 * std.log()
    vae.register_to_config(scaling_factor=1.0)


def psnr(square: float) -> float:
    """Peak signal-to-noise ratio in dB, from the mean squared error of pictures in [-1, 1].

    >>> round(psnr(0.01), 2)
    26.02
    """
    return 10 * float(np.log10(4 / max(square, 1e-12)))


@torch.no_grad()
def measure_psnr(vae: AutoencoderKL, n: int = 256, world: str = "creatures") -> float:
    """Reconstruct `n` unseen pictures of a world through the latent's mean and average their PSNR in dB, at 8 bits."""
    vae.eval()
    dtype = next(vae.parameters()).dtype
    values: list[float] = []
    rows: list[np.ndarray] = []

    def flush() -> None:
        x = to_tensor(np.stack(rows), dtype)
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.float()
        y = ((y.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
        values.extend(psnr(float(e)) for e in (y - x.float()).square().mean((1, 2, 3)))
        rows.clear()

    for image, _ in unseen(n, world=world):
        rows.append(image)
        if len(rows) == 16:
            flush()
    if rows:
        flush()
    return float(np.mean(values))
