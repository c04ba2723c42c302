"""Training of the image encoder that an IP-Adapter begins with: it learns to see what the captioner sees."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, VisionEncoderDecoderModel

from miniworld.training.attention import use_fast_attention
from miniworld.training.batches import Batch
from miniworld.training.captioner import captioner_folder, use_exact_norms
from miniworld.training.checkpoint import save_half
from miniworld.training.clip import normalised
from miniworld.training.epochs import Epochs
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.pictures import PictureFolder
from miniworld.training.run import Numbers
from miniworld.training.stage import Stage
from miniworld.training.unet import N_PICTURES
from miniworld.training.vae import to_tensor
from shiftless.errors import BadInput

NAME = "image-encoder"
"""The encoder's folder in a run, where the stage `image-prompt` looks for it."""

ENCODER: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "patch_size": 16,
    "projection_dim": 128,
    "hidden_act": "gelu",
}
"""The image encoder, 1.0 M parameters, of the class of CLIP's; its patches are as large as those of the captioner."""


def new_encoder(side: int, **changes: Any) -> CLIPVisionModelWithProjection:
    """Build an image encoder with random weights for pictures of `side` pixels.

    `changes` are values of `ENCODER` to replace.

    >>> new_encoder(32, num_hidden_layers=1).config.image_size
    32
    """
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**{**ENCODER, **changes}, image_size=side))


class ImageEncoderLoss(nn.Module):
    """An image encoder with its training loss: how far its patches are from those of a captioner, which is frozen."""

    def __init__(self, encoder: CLIPVisionModelWithProjection, captioner: VisionEncoderDecoderModel) -> None:
        super().__init__()
        self.encoder, self.captioner = encoder, captioner.encoder.eval().requires_grad_(False)
        self.to_target = nn.Linear(encoder.config.hidden_size, captioner.encoder.config.hidden_sizes[-1])

    def forward(self, pixels: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Give (mean squared error, its like without the constant part) of the same pictures B 3 H W, twice.

        `pixels` are as CLIP takes them and `shown` as the captioner does, in [-1, 1]. The captioner's B N C are
        normalised over C first, so that an error of 1 is that of predicting zeros.
        """
        kind = next(self.encoder.parameters()).dtype
        with torch.no_grad():
            target = self.captioner(shown.to(kind)).last_hidden_state.float()
            target = F.layer_norm(target, target.shape[-1:])
            spread = (target - target.mean((0, 1))).square().mean()
        found = self.to_target(self.encoder(pixels.to(kind)).last_hidden_state[:, 1:]).float()
        loss = (found - target).square().mean()
        return loss, (loss / spread).detach()


def train_image_encoder(
    stage: Stage,
    *,
    captioner: str | Path | None = None,
    batch: int = 64,
    lr: float = 1e-3,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Train an image encoder on drawn pictures and write it to `image-encoder` in the run's folder.

    `captioner` is the folder of the captioner that it learns from, or one that has a `captioner` in it: by default
    the embedded one. Trained through the denoiser alone, an encoder of random weights learned nothing that could be
    measured in 23,000 pictures. Raises `BadInput` when the captioner's patches are not the encoder's.
    """
    from shiftless.mini import weights

    folder = captioner_folder(captioner if captioner is not None else weights())
    if not (folder / "config.json").is_file():
        raise BadInput(f"{folder}: no captioner is here; give the folder that `--stage captioner` wrote")
    teacher = VisionEncoderDecoderModel.from_pretrained(folder, torch_dtype=torch.float32)
    with stage.begin(NAME):
        pictures = stage.picture_folder(N_PICTURES)
        side = pictures[0][0].shape[0]
        torch.manual_seed(stage.seed)
        encoder = new_encoder(side, **(changes or {}))
        strides = int(np.prod(teacher.encoder.config.strides))
        if strides != encoder.config.patch_size:
            raise BadInput(
                f"{folder}: its encoder sees patches of {strides} pixels, "
                f"an image encoder those of {encoder.config.patch_size}"
            )
        network = ImageEncoderLoss(encoder, teacher).to(stage.device)
        network.captioner.to(stage.dtype)
        use_fast_attention(encoder)
        optimiser = Fp32MasterAdamW(network.parameters(), dtype=stage.dtype, weight_decay=0.01, ema_max=0.999)
        use_exact_norms(network)
        run, epochs = stage.run(optimiser, lr), Epochs(len(pictures), stream=11)

        def batch_of(number: int) -> Batch:
            images = mirrored(pictures, epochs.rows(batch, stage.seed, number), [stage.seed, 12, number])
            return normalised(torch.from_numpy(images)), to_tensor(images)

        def step(number: int, _: float) -> tuple[Tensor, int, Numbers]:
            loss, unseen = loss_of(*batches(number))
            return loss, batch, {"unseen": unseen}

        loss_of, batches = stage.compiled(network, batch_of(0)), stage.batches(batch_of)
        stage.ready(network, len(pictures))
        run.go(step)
        return stage.write(optimiser, lambda path: save_half(deepcopy(encoder), path))


def mirrored(pictures: PictureFolder, rows: list[int], seed: list[int]) -> np.ndarray:
    """Give pictures B H W 3, about every second one mirrored: the same ones for the same seed."""
    turned = np.random.default_rng(seed).random(len(rows)) < 0.5
    return np.stack([pictures[row][0][:, ::-1] if turn else pictures[row][0] for row, turn in zip(rows, turned)])
