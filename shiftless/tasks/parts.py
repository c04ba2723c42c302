"""Parts: what an ensemble says of every pixel of a photo, and how much its members disagree."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

_STRIP = 1 << 24  # values of the enlarged votes that are held at once


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of one photo.

    mask         H W uint8, the class with most votes
    uncertainty  H W float32 in nats: the Jensen-Shannon divergence of the members' answers, 0 where all agree
    name         of the photo
    descriptor   D float32: the mean of the standardised features that were classified, for comparing photos

    >>> Parts(np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.float32)).areas(2).tolist()
    [6, 0]
    """

    mask: np.ndarray
    uncertainty: np.ndarray
    name: str = "image"
    descriptor: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    def areas(self, classes: int) -> np.ndarray:
        """Return how many pixels each class has, L int64."""
        return np.bincount(self.mask.ravel(), minlength=classes)

    @staticmethod
    def counted(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the votes N L and the divergence N 1 of members' logits M N L.

        Votes are the share of members whose best class it is; a tie goes to the class with the higher mean probability.
        The divergence is the entropy of the mean answer less the mean of the answers' entropies.

        >>> votes, divergence = Parts.counted(torch.tensor([[[9.0, 0.0]], [[0.0, 9.0]]]))
        >>> votes.round(decimals=2).tolist(), bool(divergence > 0.6)
        ([[0.5, 0.5]], True)
        """
        logs = logits.float().log_softmax(-1)
        answers = logs.exp()
        mean = answers.mean(0)
        votes = F.one_hot(answers.argmax(-1), logits.shape[-1]).float().mean(0)
        votes = votes + mean / (1000 * len(logits))  # far below one vote: it decides between equals only
        of_mean = -(mean * mean.clamp_min(1e-12).log()).sum(-1)
        of_each = -(answers * logs).sum(-1).mean(0)
        return votes.cpu(), (of_mean - of_each).clamp_min(0)[:, None].cpu()

    @classmethod
    def on(
        cls, grid: tuple[int, int], votes: torch.Tensor, divergence: torch.Tensor, hw: tuple[int, int], name: str
    ) -> Parts:
        """Make the parts of a photo of H W from votes L h*w and divergence 1 h*w on a grid (h, w): bilinear.

        >>> votes = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> Parts.on((1, 2), votes, torch.zeros(1, 2), (1, 4), "a").mask.tolist()
        [[0, 0, 1, 1]]
        """
        both = torch.cat([votes, divergence]).view(1, len(votes) + 1, *grid)
        mask = np.empty(hw, np.uint8)
        uncertainty = np.empty(hw, np.float32)
        step = max(1, _STRIP // (both.shape[1] * hw[1]))
        for top in range(0, hw[0], step):
            rows = slice(top, min(top + step, hw[0]))
            large = both if grid == hw else _enlarged(both, hw, rows)
            large = large[:, :, rows] if grid == hw else large
            mask[rows] = large[0, :-1].argmax(0).to(torch.uint8).numpy()
            uncertainty[rows] = large[0, -1].numpy()
        return cls(mask, uncertainty, name)


def _enlarged(small: torch.Tensor, hw: tuple[int, int], rows: slice) -> torch.Tensor:
    """Some rows of maps 1 C h w enlarged bilinearly to H W: 1 C n W."""
    ys = (torch.arange(rows.start, rows.stop, dtype=torch.float32) + 0.5) / hw[0] * 2 - 1
    xs = (torch.arange(hw[1], dtype=torch.float32) + 0.5) / hw[1] * 2 - 1
    where = torch.stack(torch.meshgrid(ys, xs, indexing="ij")[::-1], -1)[None]
    return F.grid_sample(small, where, mode="bilinear", padding_mode="border", align_corners=False)
