"""UperNet: transformers' own UPerNet and FCN heads on a pyramid of feature maps.

The one module of `tasks` that knows transformers: what it takes from there are layers on features, and no backbone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from shiftless.errors import BadInput

POOL_SCALES = (1, 2, 3)
AUXILIARY_LEVEL = 1
"""The level that the auxiliary head looks at, or the only one."""


class UperNet(nn.Module):
    """UPerNet with an auxiliary FCN head, both as transformers has them; logits are on the grid of the first level.

    channels  of each level; `classes` L
    width     channels inside, of both heads
    scales    cells along each side that the last level is pooled to

    The auxiliary head is used in training only; otherwise its answer is None. A batch of training holds two pictures
    or more, since batch norm takes no single value. Source: Xiao et al., ECCV 2018; settings as in GATE, NeurIPS 2024.

    >>> decoder = UperNet((8, 16), 3, width=4)
    >>> levels = [torch.randn(2, 8, 4, 6), torch.randn(2, 16, 2, 3)]
    >>> [answer.shape for answer in decoder(levels)]
    [torch.Size([2, 3, 4, 6]), torch.Size([2, 3, 2, 3])]
    >>> decoder.eval()(levels)[1] is None
    True
    """

    def __init__(
        self, channels: Sequence[int], classes: int, width: int = 512, scales: Sequence[int] = POOL_SCALES
    ) -> None:
        from transformers import UperNetConfig
        from transformers.models.upernet.modeling_upernet import UperNetFCNHead, UperNetHead

        super().__init__()
        config = UperNetConfig(
            hidden_size=width, pool_scales=tuple(scales), num_labels=classes, auxiliary_channels=width,
        )  # fmt: skip
        self.main = UperNetHead(config, in_channels=list(channels))
        level = min(AUXILIARY_LEVEL, len(channels) - 1)
        self.auxiliary = UperNetFCNHead(config, in_channels=list(channels), in_index=level)

    def forward(self, levels: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return logits B L H W, and in training those of the auxiliary head on its own level's grid."""
        if self.training and len(levels[0]) < 2:
            raise BadInput("a batch of one picture: UPerNet pools to one cell and norms it over the batch; give two")
        levels = list(levels)
        return self.main(levels), self.auxiliary(levels) if self.training else None
