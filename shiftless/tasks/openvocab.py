"""Open vocabulary: every pixel of a photo, or every mask, goes to the class whose name's embedding it fits best.

Sources: MaskCLIP (Zhou et al., "Extract Free Dense Labels from CLIP", ECCV 2022); ODISE (Xu et al., "Open-Vocabulary
Panoptic Segmentation with Text-to-Image Diffusion Models", CVPR 2023).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from shiftless.errors import BadInput

SCALE = 100.0
"""What cosine similarities are multiplied by, as CLIP's own scale ends at."""
ABSENT = -1e4
"""The logit of a class that is taken to be absent: finite, so that logits can be resized and have an entropy."""
ALPHA, BETA = 0.3, 0.7
"""How much CLIP counts for masks of classes that were there in training, and of others, in ODISE's published config."""


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


def mask_pooled(features: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the mean of features over each mask, B Q C; zeros for a mask without a pixel.

    features  B C h w             masks  B Q H W logits; a mask is where they are above 0

    On another grid each cell counts by the share of it that a mask covers. No gradient reaches the masks.

    >>> features = torch.tensor([1.0, 3.0, 5.0, 7.0]).view(1, 1, 1, 4)
    >>> masks = torch.tensor([[1.0, 1, -1, -1], [-1, -1, -1, 1]]).view(1, 2, 1, 4)
    >>> mask_pooled(features, masks).flatten().tolist()
    [2.0, 7.0]
    """
    h, w = features.shape[-2:]
    shares = F.adaptive_avg_pool2d((masks.detach() > 0).to(features.dtype), (h, w))
    summed = torch.einsum("bchw,bqhw->bqc", features, shares)
    return summed / shares.sum((2, 3)).clamp_min(1e-6)[..., None]


def semantic_scores(classes: torch.Tensor, masks: torch.Tensor, hw: tuple[int, int]) -> torch.Tensor:
    """Return how much masks of each class cover each pixel, B L H W, from 0 on.

    classes  B Q L+1, the logits of each mask's class, the last of none; `masks` B Q h w, logits
    hw       (H, W) that masks are enlarged to

    Source: Cheng et al., CVPR 2022 (Mask2Former), semantic inference.

    >>> classes = torch.tensor([[[0.0, -99.0, -99.0], [-99.0, 0.0, 0.0]]])
    >>> semantic_scores(classes, torch.zeros(1, 2, 1, 1), (1, 1)).flatten().tolist()
    [0.5, 0.25]
    """
    large = F.interpolate(masks.float(), hw, mode="bilinear", align_corners=False).sigmoid()
    return torch.einsum("bql,bqhw->blhw", classes.float().softmax(-1)[..., :-1], large)


def combined_classes(
    own: torch.Tensor, clip: torch.Tensor, trained: torch.Tensor, alpha: float = ALPHA, beta: float = BETA
) -> torch.Tensor:
    """Return the logs of what two classifiers together say of each mask, B Q L+1; their exponentials sum to 1.

    own      B Q L+1, logits of the classifier that was trained with the masks, the last of no class
    clip     B Q L, logits of CLIP
    trained  L, whether masks of a class were there in training
    alpha    of the classes that were: probabilities are own ** (1 - alpha) * clip ** alpha
    beta     of the others, in the place of alpha

    The geometric means of all classes are made to sum to what is left by the probability of no class, which is the
    first classifier's. Source: Xu et al., CVPR 2023 (ODISE); alpha and beta are those of its published config.

    >>> own, clip = torch.tensor([[[0.8, 0.2, 1.0]]]).log(), torch.tensor([[[0.5, 0.5]]]).log()
    >>> combined_classes(own, clip, torch.tensor([True, True]), alpha=0.5).exp().flatten().tolist()
    [0.333..., 0.166..., 0.5...]
    """
    if clip.shape[-1] != own.shape[-1] - 1 or len(trained) != clip.shape[-1]:
        raise BadInput(f"logits of {own.shape[-1] - 1} and of {clip.shape[-1]} classes: give both for the same names")
    weight = torch.where(trained.to(own.device), alpha, beta)
    logs = (1 - weight) * own[..., :-1].float().log_softmax(-1) + weight * clip.float().log_softmax(-1)
    none = own.float().log_softmax(-1)[..., -1:]
    left = torch.log1p(-none.exp().clamp_max(1 - 1e-6))
    return torch.cat([logs.log_softmax(-1) + left, none], -1)
