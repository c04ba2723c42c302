"""Training of the tiny encoder: a small network learns the latents that the autoencoder gives, to take its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors.torch import save_file
from torch import Tensor, nn

from miniworld.training.batches import Batch
from miniworld.training.checkpoint import swap_folder
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.pictures import crops
from miniworld.training.run import Numbers
from miniworld.training.stage import Stage
from miniworld.training.vae import N_PICTURES, to_tensor
from shiftless.backbones.tiny_encoder import TAESD
from shiftless.errors import BadInput

NAME = "tiny-encoder"
ENCODER: dict[str, Any] = {
    "latent_channels": 4,
    "encoder_block_out_channels": (32, 32, 32),
    "num_encoder_blocks": (0, 1, 3),
    "decoder_block_out_channels": (8, 8, 8),
    "num_decoder_blocks": (0, 0, 0),
}
"""Of diffusers' AutoencoderTiny, whose encoder has 0.13 M parameters; its decoder is not trained and not saved."""


class TinyEncoderLoss(nn.Module):
    """An encoder with its loss against a frozen autoencoder, in one graph that compiles."""

    def __init__(self, vae: AutoencoderKL, encoder: nn.Module) -> None:
        super().__init__()
        self.vae, self.encoder = vae.requires_grad_(False), encoder
        self.scale, self.shift = float(vae.config.scaling_factor), float(vae.config.shift_factor or 0.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give (loss, share of the latents' variance that is missed) of pictures B 3 H W in [-1, 1].

        The loss is the squared error of latents B c h w, scaled as the denoiser takes them, and a little of their
        absolute error, which the last of the training is decided by.
        """
        with torch.no_grad():
            moments = self.vae.quant_conv(self.vae.encoder(x.to(self.vae.quant_conv.weight.dtype)))
            latents = (moments.chunk(2, dim=1)[0].float() - self.shift) * self.scale
        given = self.encoder(x).float()
        square = F.mse_loss(given, latents)
        return square + 0.1 * F.l1_loss(given, latents), square.detach() / latents.var()


def train_tiny_encoder(
    stage: Stage,
    *,
    model: str | Path | None = None,
    batch: int = 16,
    lr: float = 2e-3,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Train the tiny encoder of a model's autoencoder and write it to `taesd` in the run's folder, in fp16.

    `model` is the folder that holds the autoencoder, as `vae`; by default the run's folder. Pictures are seen whole, as
    the autoencoder's group norms decide what it gives. Raises `BadInput` if there is no autoencoder.
    """
    with stage.begin(NAME) as log:
        vae = open_vae(Path(model or stage.out))
        data = stage.picture_folder(N_PICTURES)
        side = data[0][0].shape[0]
        torch.manual_seed(stage.seed)
        tiny = AutoencoderTiny(**{**ENCODER, "latent_channels": vae.config.latent_channels, **(changes or {})})
        network: Any = TinyEncoderLoss(vae, tiny.encoder)
        network.train().to(stage.device, memory_format=torch.channels_last)
        vae.eval()
        optimiser = Fp32MasterAdamW(tiny.encoder.parameters(), dtype=stage.dtype, weight_decay=0.0, ema_max=0.998)
        run = stage.run(optimiser, lr)

        def batch_of(number: int) -> Batch:
            x = to_tensor(crops(data, batch, side, stage.seed, number), stage.dtype)
            return (x.contiguous(memory_format=torch.channels_last),)

        def step(number: int, _: float) -> tuple[Tensor, int, Numbers]:
            loss, missed = loss_of(*batches(number))
            return loss, batch, {"missed": missed}

        loss_of, batches = stage.compiled(network, batch_of(0)), stage.batches(batch_of)
        stage.ready(tiny.encoder, len(data))
        run.go(step)
        optimiser.load_average()
        swap_folder(stage.out / TAESD, lambda path: save_encoder(tiny, path))
        log.say(f"written to {stage.out / TAESD}")
    return stage.out / TAESD


def open_vae(folder: Path) -> AutoencoderKL:
    """Open the autoencoder in a model's folder, in float32; raises `BadInput` if there is none."""
    if not (folder / "vae" / "config.json").is_file():
        raise BadInput(f"{folder}: no vae here, whose latents a tiny encoder learns; give a model folder with --from")
    vae: AutoencoderKL = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    return vae


def save_encoder(tiny: AutoencoderTiny, folder: Path) -> None:
    """Write an AutoencoderTiny's config and the weights of its encoder, in fp16, as diffusers names them."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny.save_config(folder)
    weights = {f"encoder.{name}": one.half().cpu().contiguous() for name, one in tiny.encoder.state_dict().items()}
    save_file(weights, folder / "diffusion_pytorch_model.safetensors", {"format": "pt"})
