"""Training of a small CLIP: which caption goes with which drawn picture."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from miniworld.training.batches import Batch
from miniworld.training.captioned import LENGTH, CaptionedPictures
from miniworld.training.captioner import use_exact_norms
from miniworld.training.checkpoint import save_half, save_preprocessor
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.run import Numbers
from miniworld.training.stage import Stage
from miniworld.training.tokenizer import new_tokenizer, save_tokenizer
from shiftless.conditions.silence import silenced
from shiftless.errors import BadInput

NAME = "clip"
"""The folder of the CLIP."""
N_PICTURES = 30_000
"""How many pictures a run draws for itself."""
MOST_SCALE = 4.6052
"""The largest logarithm of the scale of logits, as published: 100."""
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's own normalisation of pictures."""

VISION: dict[str, Any] = {
    "image_size": 128,
    "patch_size": 8,
    "hidden_size": 160,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "intermediate_size": 512,
}
TEXT: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 512,
    "max_position_embeddings": LENGTH,
}
WIDTH = 128
"""Of the space that pictures and captions share; 2.2 M parameters in all, 4.4 MB in half precision."""


def new_clip(tokenizer: Any, seed: int = 0, **changes: Any) -> CLIPModel:
    """Build the CLIP with random weights for a tokenizer; `changes` are values of `VISION` to replace.

    >>> model = new_clip(new_tokenizer(["cow"]), num_hidden_layers=1)
    >>> model.visual_projection.weight.shape, model.text_projection.weight.shape
    (torch.Size([128, 160]), torch.Size([128, 128]))
    """
    torch.manual_seed(seed)
    special = {
        "vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    config = CLIPConfig(vision_config={**VISION, **changes}, text_config={**TEXT, **special}, projection_dim=WIDTH)
    return CLIPModel(config)


class ClipLoss(nn.Module):
    """A CLIP with its training loss, computed in float32: the symmetric cross-entropy of Radford et al. 2021."""

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Give (loss, share of pictures whose own caption fits best) of pixels B 3 H W, normalised, and tokens B L.

        Of two pictures with the same caption either may be the other's.
        """
        found = self.model(pixel_values=pixels.to(next(self.model.parameters()).dtype), input_ids=tokens)
        images, texts = (F.normalize(one.float(), dim=-1) for one in (found.image_embeds, found.text_embeds))
        scale = self.model.logit_scale.float().clamp(max=MOST_SCALE).exp()
        logits = scale * images @ texts.T
        same = (tokens[:, None] == tokens[None]).all(-1).float()
        targets = same / same.sum(1, keepdim=True)
        loss = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
        right = same.gather(1, logits.argmax(1, keepdim=True)).mean()
        return loss, right.detach()


def train_clip(
    stage: Stage,
    *,
    start_from: str | Path | None = None,
    batch: int = 64,
    lr: float = 5e-4,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Train the CLIP and write it to `clip` in the run's folder, every second picture mirrored with its caption.

    `start_from` is a CLIP's folder, or one that has a `clip` in it, to train further. Raises `BadInput` when it is
    not, or when it takes pictures of another size.
    """
    with stage.begin(NAME):
        pictures = stage.picture_folder(N_PICTURES)
        side = pictures[0][0].shape[0]
        if start_from is None:
            tokenizer = new_tokenizer()
            model = new_clip(tokenizer, stage.seed, **{"image_size": side, **(changes or {})})
        else:
            tokenizer, model = _existing(Path(start_from), side)
        data = CaptionedPictures(pictures, tokenizer)
        network = ClipLoss(model).train().to(stage.device)
        optimiser = Fp32MasterAdamW(network.parameters(), dtype=stage.dtype, weight_decay=0.1, ema_max=0.999)
        use_exact_norms(network)
        run = stage.run(optimiser, lr)

        def batch_of(number: int) -> Batch:
            images, tokens = data.batch(batch, stage.seed, number)
            return normalised(images), tokens

        def step(number: int, _: float) -> tuple[Tensor, int, Numbers]:
            loss, right = loss_of(*batches(number))
            return loss, batch, {"right": right}

        loss_of, batches = stage.compiled(network, batch_of(0)), stage.batches(batch_of)
        stage.ready(network, len(data))
        run.go(step)
        return stage.write(optimiser, lambda path: save_clip(path, model, tokenizer))


def normalised(images: Tensor) -> Tensor:
    """Pictures B H W 3 uint8 to pixels B 3 H W as a CLIP takes them.

    >>> normalised(torch.zeros(1, 2, 2, 3, dtype=torch.uint8))[0, 0, 0, 0].item() < -1.7
    True
    """
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (images.permute(0, 3, 1, 2).float() / 255 - mean) / std


def save_clip(folder: str | Path, model: CLIPModel, tokenizer: Any) -> None:
    """Write a folder that plain `CLIPModel.from_pretrained` loads, with its tokenizer, in float16 safetensors."""
    folder = Path(folder)
    save_half(deepcopy(model), folder)
    save_tokenizer(tokenizer, folder)
    side = model.config.vision_config.image_size
    save_preprocessor(folder, "CLIPImageProcessor", side, MEAN, STD, do_center_crop=False)


def _existing(folder: Path, side: int) -> tuple[Any, CLIPModel]:
    found = folder / NAME if (folder / NAME).is_dir() else folder
    path = found / "config.json"
    if not path.exists() or json.loads(path.read_text(encoding="utf-8")).get("model_type") != "clip":
        raise BadInput(f"{found}: no CLIP here; give the folder that holds its config.json")
    with silenced():
        tokenizer = CLIPTokenizer.from_pretrained(found)
        model = CLIPModel.from_pretrained(found, torch_dtype=torch.float32)
    if model.config.vision_config.image_size != side:
        own = model.config.vision_config.image_size
        raise BadInput(f"{found}: takes pictures of {own} pixels, and those drawn have {side}")
    return tokenizer, model
