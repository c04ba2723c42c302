"""Training of the oracle: a small network that labels pixels and points, from drawn pictures with their truth."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from miniworld.oracle import CHANNELS, NAME, STRIDE, SUB, load_oracle
from miniworld.training.attention import use_fast_attention
from miniworld.training.batches import Batch, Batches
from miniworld.training.captioner import begin_depthwise, use_exact_norms
from miniworld.training.checkpoint import save_half
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.labelled import LabelledPictures, draw_labelled
from miniworld.training.run import Numbers
from miniworld.training.stage import Stage

NETWORK: dict[str, Any] = {
    "num_encoder_blocks": 3,
    "depths": (1, 2, 3),
    "hidden_sizes": (48, 96, 160),
    "patch_sizes": (7, 3, 3),
    "strides": (STRIDE, 2, 2),
    "sr_ratios": (4, 2, 1),
    "num_attention_heads": (1, 2, 5),
    "mlp_ratios": (4, 4, 4),
    "decoder_hidden_size": 96,
    "drop_path_rate": 0.0,
    "classifier_dropout_prob": 0.0,
}
"""A small SegFormer (Xie et al. 2021) with an extra channel for each sub-cell of a label and for each point."""
POINT_WEIGHT = 0.3
"""Weight of the points' loss beside the labels'."""
N_PICTURES = 40_000
"""How many pictures a run draws for itself."""
STATISTICS = 40
"""Batches over which the one batch norm's statistics are taken when training is over."""


def new_oracle(seed: int = 0, **changes: Any) -> SegformerForSemanticSegmentation:
    """Build the oracle's network with random weights: pixels B 3 H W in [-1, 1] to logits B `CHANNELS` H/4 W/4.

    `changes` are values of `NETWORK` to replace.

    >>> new_oracle(depths=(1, 1, 1))(torch.zeros(1, 3, 64, 64)).logits.shape
    torch.Size([1, 192, 16, 16])
    """
    torch.manual_seed(seed)
    names = dict(enumerate(CHANNELS))
    ids = {name: i for i, name in names.items()}
    model = SegformerForSemanticSegmentation(SegformerConfig(**{**NETWORK, **changes}, id2label=names, label2id=ids))
    begin_depthwise(model)
    return model


class OracleLoss(nn.Module):
    """An oracle with its training loss."""

    def __init__(self, model: SegformerForSemanticSegmentation) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, labels: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Give (loss, share of right labels) of pictures B H W 3 uint8, labels B H/2 W/2 and points B P 2 in pixels.

        The loss is the labels' cross-entropy a cell and, times `POINT_WEIGHT`, that of each point over the cells of
        its map, where the truth is shared by the four cells around the point; a point at NaN does not count.
        """
        pixels = (images.permute(0, 3, 1, 2).float() / 127.5 - 1).to(next(self.model.parameters()).dtype)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        logits = self.model(pixel_values=pixels).logits.float()
        label_logits = logits[:, : -points.shape[1]].unflatten(1, (-1, SUB * SUB))  # `split` moves more memory
        label_targets = F.pixel_unshuffle(labels[:, None], SUB)
        loss = F.cross_entropy(label_logits, label_targets) + POINT_WEIGHT * point_loss(
            logits[:, -points.shape[1] :], points
        )
        return loss, (label_logits[:, :, 0].argmax(1) == label_targets[:, 0]).float().mean().detach()


def point_loss(maps: Tensor, points: Tensor) -> Tensor:
    """Give the mean cross-entropy of points B P 2, in pixels, under maps B P h w of unnormalised log-probabilities.

    >>> maps = torch.zeros(1, 1, 4, 4)
    >>> maps[0, 0, 1, 2] = torch.tensor(15.0).log()  # as likely as all other cells together
    >>> round(float(point_loss(maps, torch.tensor([[[10.0, 6.0]]])).exp()), 4)  # the centre of that cell
    2.0
    """
    h, w = maps.shape[-2:]
    known = torch.isfinite(points).all(-1)
    at = torch.where(known[..., None], points, 0.0) / STRIDE - 0.5
    x, y = at[..., 0].clamp(0, w - 1), at[..., 1].clamp(0, h - 1)
    flat = maps.flatten(2).log_softmax(-1)
    column, row = x.floor().clamp(max=w - 2), y.floor().clamp(max=h - 2)
    x, y, corner = x - column, y - row, (row * w + column).long()
    agreed = torch.zeros_like(x)
    for offset, share in ((0, (1 - x) * (1 - y)), (1, x * (1 - y)), (w, (1 - x) * y), (w + 1, x * y)):
        agreed = agreed + share * flat.gather(-1, (corner + offset)[..., None])[..., 0]
    return -(agreed * known).sum() / known.sum().clamp(min=1)


def train_oracle(
    stage: Stage,
    *,
    start_from: str | Path | None = None,
    batch: int = 32,
    lr: float = 1e-3,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Train the oracle and write it to `oracle` in the run's folder; its pictures are drawn into `labelled` there.

    `start_from` is an oracle's folder, or a model's that has one, to train further.
    """
    model = new_oracle(stage.seed, **(changes or {})) if start_from is None else load_oracle(start_from).network
    with stage.begin(NAME):
        data = LabelledPictures(stage.drawn(N_PICTURES, draw_labelled, "labelled"))
        network = OracleLoss(model).train().to(stage.device)
        use_fast_attention(model)
        optimiser = Fp32MasterAdamW(network.parameters(), dtype=stage.dtype, weight_decay=0.01, ema_max=0.999)
        use_exact_norms(network)
        model.decode_head.batch_norm.float()
        run = stage.run(optimiser, lr)

        def batch_of(number: int) -> Batch:
            return data.batch(batch, stage.seed, number)

        def step(number: int, _: float) -> tuple[Tensor, int, Numbers]:
            loss, right = network(*batches(number))
            return loss, batch, {"right": right}

        batches = stage.batches(batch_of)
        stage.ready(network, len(data))
        run.go(step)

        def save(path: Path) -> None:
            take_statistics(network, batches)
            save_oracle(path, model)

        return stage.write(optimiser, save)


@torch.no_grad()
def take_statistics(network: OracleLoss, batches: Batches) -> None:
    """Set the batch norm's statistics to the mean over training batches, for the weights that the network holds now.

    Running statistics would be of the weights on their way, not of their average (Wu and Johnson 2021).
    """
    norm = network.model.decode_head.batch_norm
    norm.reset_running_stats()
    kept, norm.momentum = norm.momentum, None  # None: the plain mean over all batches
    for step in range(STATISTICS):
        network(*batches(step))
    norm.momentum = kept


def save_oracle(folder: str | Path, model: SegformerForSemanticSegmentation) -> None:
    """Write a folder that plain `SegformerForSemanticSegmentation.from_pretrained` loads, in float16 safetensors."""
    save_half(deepcopy(model), Path(folder))
