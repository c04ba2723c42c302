"""Training of a masked autoencoder: from a quarter of a picture's patches, the pixels of the others."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from miniworld.training.batches import Batch
from miniworld.training.captioner import use_exact_norms
from miniworld.training.checkpoint import save_half, save_preprocessor
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.pictures import crops
from miniworld.training.run import Numbers
from miniworld.training.stage import Stage
from miniworld.training.vae import to_tensor
from shiftless.backbones.vision_folder import MEAN, STD, Preparation
from shiftless.conditions.silence import silenced
from shiftless.errors import BadInput

NAME = "mae"
"""The masked autoencoder's folder."""
N_PICTURES = 30_000
"""How many pictures a run draws for itself."""

NETWORK: dict[str, Any] = {
    "image_size": 128,
    "patch_size": 8,
    "hidden_size": 192,
    "num_hidden_layers": 6,
    "num_attention_heads": 3,
    "intermediate_size": 768,
    "decoder_hidden_size": 128,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 512,
    "mask_ratio": 0.75,
    "norm_pix_loss": True,
}
"""A small ViT over 256 patches, 3.2 M parameters with its decoder, 6 MB; mask and loss of He et al. 2022."""


def new_mae(seed: int = 0, **changes: Any) -> ViTMAEForPreTraining:
    """Build the masked autoencoder with random weights: pixels B 3 H W, normalised, to patches B N 192.

    transformers leaves the places of patches at zero in a network that is not loaded, and other weights as well. Here
    they begin as published.

    >>> model = new_mae(num_hidden_layers=1)
    >>> model(torch.zeros(1, 3, 128, 128)).logits.shape, float(model.vit.embeddings.position_embeddings[0, 1, -1])
    (torch.Size([1, 256, 192]), 1.0)
    """
    torch.manual_seed(seed)
    model = ViTMAEForPreTraining(ViTMAEConfig(**{**NETWORK, **changes}))
    embeddings, decoder, std = model.vit.embeddings, model.decoder, model.config.initializer_range
    side = model.config.image_size // model.config.patch_size
    with torch.no_grad():
        for places in (embeddings.position_embeddings, decoder.decoder_pos_embed):
            places[:, 1:] = sines(side, places.shape[-1])  # the first is the class token's
        nn.init.normal_(embeddings.cls_token, std=std)
        nn.init.normal_(decoder.mask_token, std=std)
        projection = embeddings.patch_embeddings.projection
        nn.init.xavier_uniform_(projection.weight.view(len(projection.weight), -1))
    return _fixed(model)


def sines(side: int, width: int) -> Tensor:
    """Give the places of side x side patches as sines and cosines, N `width`: half of it for columns, half for rows.

    >>> [round(value, 2) for value in sines(2, 4)[1].tolist()]
    [0.84, 0.54, 0.0, 1.0]
    """
    frequencies = 10_000.0 ** -(torch.arange(width // 4) / (width // 4))
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [at.flatten()[:, None] * frequencies for at in (x, y)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1)


class MaskedLoss(nn.Module):
    """A masked autoencoder with its training loss, computed in float32, in one graph that compiles."""

    def __init__(self, model: ViTMAEForPreTraining) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Give (loss, squared error of each picture, B) of normalised pixels B 3 H W; noise B N says what is masked.

        The error is that of the masked patches' pixels, each patch normalised to mean 0 and deviation 1.
        """
        seen = self.model.vit(pixels.to(next(self.model.parameters()).dtype), noise=noise)
        predicted = self.model.decoder(seen.last_hidden_state, seen.ids_restore).logits.float()
        patches = self.model.patchify(pixels)
        variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
        error = (predicted - (patches - mean) / (variance + 1e-6).sqrt()).square().mean(-1)
        errors = (error * seen.mask).sum(1) / seen.mask.sum(1)
        return errors.mean(), errors.detach()


def train_mae(
    stage: Stage,
    *,
    start_from: str | Path | None = None,
    batch: int = 32,
    lr: float = 1e-3,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Train the masked autoencoder and write it to `mae` in the run's folder, every second picture mirrored.

    `start_from` is a masked autoencoder's folder, or one that has a `mae` in it, to train further. Raises `BadInput`
    when it is not, or when it takes pictures of another size.
    """
    with stage.begin(NAME):
        data = stage.picture_folder(N_PICTURES)
        side = data[0][0].shape[0]
        # said when it is built, since the decoder's layers have a config of their own
        attention = {"attn_implementation": "eager" if stage.device.type == "cpu" else "sdpa"}
        if start_from is None:
            model = new_mae(stage.seed, **{"image_size": side, **attention, **(changes or {})})
        else:
            model = _existing(Path(start_from), side, attention)
        network = MaskedLoss(model).train().to(stage.device)
        optimiser = Fp32MasterAdamW(
            network.parameters(), dtype=stage.dtype, weight_decay=0.05, betas=(0.9, 0.95), ema_max=0.999
        )
        use_exact_norms(network)
        for fixed in _places(model):
            fixed.data = fixed.data.to(stage.dtype)
        run = stage.run(optimiser, lr)
        patches = model.vit.embeddings.patch_embeddings.num_patches

        def batch_of(number: int) -> Batch:
            pixels = to_tensor(crops(data, batch, side, stage.seed, number)) / 2 + 0.5
            generator = torch.Generator().manual_seed(stage.seed * 10**7 + number)
            return Preparation().normalise(pixels), torch.rand(batch, patches, generator=generator)

        def step(number: int, _: float) -> tuple[Tensor, int, Numbers]:
            loss, _errors = loss_of(*batches(number))
            return loss, batch, {}

        loss_of, batches = stage.compiled(network, batch_of(0)), stage.batches(batch_of)
        stage.ready(network, len(data))
        run.go(step)
        return stage.write(optimiser, lambda path: save_mae(path, model))


def save_mae(folder: str | Path, model: ViTMAEForPreTraining) -> None:
    """Write a folder that plain `ViTMAEModel` and `ViTMAEForPreTraining` load, in float16 safetensors."""
    folder = Path(folder)
    save_half(deepcopy(model), folder)
    save_preprocessor(folder, "ViTImageProcessor", model.config.image_size, MEAN, STD)


def _places(model: ViTMAEForPreTraining) -> tuple[nn.Parameter, nn.Parameter]:
    return model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed


def _fixed(model: ViTMAEForPreTraining) -> ViTMAEForPreTraining:
    """Keep the places of patches as they are; a network that is loaded would train them."""
    for places in _places(model):
        places.requires_grad_(False)
    return model


def _existing(folder: Path, side: int, attention: dict[str, str]) -> ViTMAEForPreTraining:
    found = folder / NAME if (folder / NAME).is_dir() else folder
    path = found / "config.json"
    if not path.exists() or json.loads(path.read_text(encoding="utf-8")).get("model_type") != "vit_mae":
        raise BadInput(f"{found}: no masked autoencoder here; give the folder that holds its config.json")
    with silenced():
        model = ViTMAEForPreTraining.from_pretrained(found, torch_dtype=torch.float32, **attention)
    if model.config.image_size != side:
        raise BadInput(f"{found}: takes pictures of {model.config.image_size} pixels, and those drawn have {side}")
    return _fixed(model)
