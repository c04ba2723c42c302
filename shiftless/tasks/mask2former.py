"""MaskProposals: transformers' own Mask2Former on a pyramid of feature maps, its masks classified by words.

What it takes from transformers are layers on features, and no backbone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerPreTrainedModel,
    Mask2FormerTransformerModule,
)

from shiftless.errors import BadInput
from shiftless.tasks.openvocab import mask_pooled, semantic_scores

GROUPS = 32
"""In how many groups Mask2Former norms channels."""
_LEVELS = 3  # that the transformer attends to; finer ones are joined as in a feature pyramid
_TEMPERATURE, _LARGEST_SCALE = 0.07, 100.0
_LARGER = 4  # times the grid of the masks that answers have along each side
_LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class Proposals:
    """What the layers of the decoder propose, the last layer last.

    masks    for each layer B Q h w, logits on the grid of the finest level
    classes  for each layer B Q L+1, logits; the last is that of no class
    """

    masks: tuple[torch.Tensor, ...]
    classes: tuple[torch.Tensor, ...]

    def logits(self) -> torch.Tensor:
        """Return the logs of the last layer's semantic scores, B L H W on a grid four times finer than the masks."""
        return self.scored(self.classes[-1])

    def scored(self, classes: torch.Tensor) -> torch.Tensor:
        """Return them for other logits of the classes of the last layer's masks, B Q L+1."""
        h, w = self.masks[-1].shape[-2:]
        return log_scores(classes, self.masks[-1], (_LARGER * h, _LARGER * w))


def log_scores(classes: torch.Tensor, masks: torch.Tensor, hw: tuple[int, int]) -> torch.Tensor:
    """Return the logs of `semantic_scores`, B L H W: their softmax is each class's share of a pixel."""
    return semantic_scores(classes, masks, hw).clamp_min(_LEAST).log()


class Mask2FormerParts(Mask2FormerPreTrainedModel):
    """The pixel decoder and the transformer of Mask2Former, with its initial weights, for features of any channels."""

    def __init__(self, config: Any, channels: Sequence[int]) -> None:
        super().__init__(config)
        self.pixel_decoder = Mask2FormerPixelDecoder(config, feature_channels=list(channels))
        self.transformer = Mask2FormerTransformerModule(in_features=config.feature_size, config=config)
        self.post_init()


class MaskProposals(nn.Module):
    """Q masks of a picture, each classified by how well its embedding fits those of the classes' names.

    channels  of each level, the finest first; `classes` L
    width     channels inside: 64, 96, 128 ...
    queries   Q
    layers    of the decoder; the pixel decoder has two thirds as many, as published
    words     D, the width of the embeddings of names, which `set_words` sets; 0 learns a vector for each class instead

    A mask's embedding is an MLP of its query and of the mean of the pixel decoder's features over the mask. Of fewer
    than three levels the coarsest is halved until there are three. Logits of `forward` are the logs of semantic scores.
    Sources: Cheng et al., CVPR 2022 (Mask2Former); Xu et al., CVPR 2023 (ODISE).

    >>> decoder = MaskProposals((8, 16), 5, width=64, queries=4, layers=1).eval()
    >>> levels = [torch.randn(2, 8, 4, 6), torch.randn(2, 16, 2, 3)]
    >>> proposals = decoder.proposals(levels)
    >>> proposals.masks[-1].shape, proposals.classes[-1].shape, decoder(levels)[0].shape
    (torch.Size([2, 4, 4, 6]), torch.Size([2, 4, 6]), torch.Size([2, 5, 16, 24]))
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        width: int = 256,
        queries: int = 100,
        layers: int = 9,
        words: int = 0,
    ) -> None:
        super().__init__()
        if width % GROUPS or width < 2 * GROUPS:  # a group of one channel cannot be normed on a grid of one cell
            raise BadInput(f"width={width}: mask2former norms {GROUPS} groups of channels; give 64, 96, 128 ...")
        if min(queries, layers) < 1:
            raise BadInput(f"queries={queries}, layers={layers}: give at least 1")
        self.missing = max(0, _LEVELS - len(channels))
        channels = [*channels, *[channels[-1]] * self.missing]
        self.config = Mask2FormerConfig(
            feature_size=width, mask_feature_size=width, hidden_dim=width, encoder_feedforward_dim=4 * width,
            dim_feedforward=8 * width, encoder_layers=max(1, round(layers * 2 / 3)), decoder_layers=layers + 1,
            num_queries=queries, num_labels=classes, feature_strides=[2**i for i in range(len(channels))],
            common_stride=1,
        )  # fmt: skip
        self.parts = Mask2FormerParts(self.config, channels)
        self.pooled = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.embed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, width),
        )  # fmt: skip
        self.log_scale = nn.Parameter(torch.tensor(-math.log(_TEMPERATURE)))
        self.words: torch.Tensor
        if words:
            self.register_buffer("words", torch.zeros(classes, words))
        else:
            self.words = nn.Parameter(torch.randn(classes, width))
        self.null = nn.Parameter(torch.zeros(words or width))  # the projection's bias gives it its first direction
        self.text = nn.Linear(words or width, width)

    @torch.no_grad()
    def set_words(self, words: torch.Tensor) -> None:
        """Take the embeddings of the classes' names, L D; raises BadInput for others than it was made for."""
        if words.shape != self.words.shape:
            raise BadInput(f"words {tuple(words.shape)}: this head was made for {tuple(self.words.shape)}, L D")
        self.words.copy_(words)

    def forward(self, levels: Sequence[torch.Tensor]) -> tuple[torch.Tensor, None]:
        """Return the logs of semantic scores, B L H W on a grid four times finer than the first level; and None."""
        return self.proposals(levels).logits(), None

    def proposals(self, levels: Sequence[torch.Tensor], words: torch.Tensor | None = None) -> Proposals:
        """Return what every layer proposes for levels B C h w; `words` L' D are names in the place of its own."""
        levels = list(levels)
        for _ in range(self.missing):
            levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True))
        pixels = self.parts.pixel_decoder(levels, output_hidden_states=False, output_attentions=False)
        found = self.parts.transformer(pixels.multi_scale_features, pixels.mask_features)
        words = self.words if words is None else words.to(self.words)
        if words.ndim != 2 or words.shape[1] != self.words.shape[1]:
            raise BadInput(f"words {tuple(words.shape)}: give L {self.words.shape[1]}, of the model trained with")
        text = F.normalize(self.text(torch.cat([words, self.null[None]])), dim=-1)
        classes = []
        for hidden, masks in zip(found.intermediate_hidden_states, found.masks_queries_logits, strict=True):
            embedded = self.embed(self.pooled(mask_pooled(pixels.mask_features, masks)) + hidden.transpose(0, 1))
            classes.append(self.log_scale.exp().clamp_max(_LARGEST_SCALE) * F.normalize(embedded, dim=-1) @ text.T)
        return Proposals(tuple(found.masks_queries_logits), tuple(classes))
