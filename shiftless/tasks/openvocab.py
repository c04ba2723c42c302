"""Open vocabulary: every pixel of a photo goes to the class whose name's embedding its own embedding fits best.

Source: MaskCLIP (Zhou et al., "Extract Free Dense Labels from CLIP", ECCV 2022).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from shiftless.errors import BadInput

SCALE = 100.0
"""What cosine similarities are multiplied by, as CLIP's own scale ends at."""
ABSENT = -1e4
"""The logit of a class that is taken to be absent: finite, so that logits can be resized and have an entropy."""


def class_logits(dense: torch.Tensor, classes: torch.Tensor, scale: float = SCALE) -> torch.Tensor:
    """Return how well each cell fits each class: logits B L h w.

    dense    B D h w, what each cell shows, in the space that CLIP shares
    classes  L D, the embeddings of the classes' names
    scale    of the cosine similarities

    Raises BadInput for embeddings of another width.

    >>> cells = torch.tensor([[1.0, 0.0], [0.0, 3.0]]).view(1, 2, 1, 2)
    >>> class_logits(cells, torch.eye(2)).flatten(2)[0].tolist()
    [[100.0, 0.0], [0.0, 100.0]]
    """
    if classes.ndim != 2 or classes.shape[1] != dense.shape[1]:
        raise BadInput(f"classes {tuple(classes.shape)} for cells of {dense.shape[1]} channels: give L D of one model")
    cells, names = F.normalize(dense.float(), dim=1), F.normalize(classes.float(), dim=1)
    return scale * torch.einsum("ld,bdhw->blhw", names, cells)


def smooth_by_keys(logits: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Return the logits of each cell summed over all cells, weighted by the similarity of their keys: B L h w.

    logits  B L h w         keys  B C h w, of the last attention layer

    The weights are cosine similarities, as they are published; none is left out. Raises BadInput for another grid.

    >>> keys = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).view(1, 2, 1, 3)
    >>> smooth_by_keys(torch.tensor([2.0, 0.0, 5.0]).view(1, 1, 1, 3), keys).flatten().tolist()
    [2.0, 2.0, 5.0]
    """
    if keys.shape[-2:] != logits.shape[-2:] or len(keys) != len(logits):
        raise BadInput(f"keys {tuple(keys.shape)} for logits {tuple(logits.shape)}: give those of the same cells")
    unit = F.normalize(keys.float().flatten(2), dim=1)
    weights = unit.transpose(1, 2) @ unit
    return (logits.float().flatten(2) @ weights.transpose(1, 2)).view_as(logits)


def without_absent(logits: torch.Tensor, least: float = 0.5, scale: float = 1.0) -> torch.Tensor:
    """Return logits in which classes that no cell is sure of are as unlikely as can be: prompt denoising, B L h w.

    least  the probability that a class needs at its surest cell, of the softmax over classes
    scale  what logits are multiplied by before the softmax

    Where no class is sure enough, all stay.

    >>> logits = torch.tensor([[4.0, 0.0], [0.0, 1.0], [-1.0, -2.0]]).view(1, 3, 1, 2)
    >>> without_absent(logits, least=0.6)[0, :, 0, 1].tolist()
    [0.0, 1.0, -10000.0]
    """
    surest = (scale * logits.float()).softmax(1).amax((2, 3), keepdim=True)
    gone = surest < least
    gone = gone & ~gone.all(1, keepdim=True)
    return logits.masked_fill(gone, ABSENT)
