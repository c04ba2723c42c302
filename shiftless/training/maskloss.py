"""The loss of masks that are proposed: transformers' own Mask2FormerLoss, matched by its own Hungarian matcher."""

from __future__ import annotations

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from shiftless.metrics.segmentation import IGNORE
from shiftless.tasks.mask2former import Proposals

MOST_NORM = 0.01
"""Gradients are scaled so that their norm is at most this, as published (Mask2Former, ODISE)."""
WEIGHTS = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
_MOST_POINTS = 12544  # of a mask that are compared


def mask_loss(proposals: Proposals, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of a batch, and the logs of its semantic scores enlarged to the labels, B L S S.

    labels  B S S, whole numbers; pixels of IGNORE belong to no mask

    Each class of a picture is one mask, which the matcher pairs with a proposal. Masks are compared at random points, a
    quarter as many as there are pixels, 12,544 at most. Every layer of the decoder counts. Points are drawn from
    torch's own generator. Source: Cheng et al., CVPR 2022 (Mask2Former), its published weights and points.

    >>> masks = torch.tensor([[-9.0, 9.0], [9.0, -9.0]]).view(1, 2, 1, 2)
    >>> classes = torch.tensor([[[-9.0, 9.0, -9.0], [9.0, -9.0, -9.0]]])
    >>> labels = torch.tensor([[[0, 1], [0, 1]]])
    >>> right, large = mask_loss(Proposals((masks,), (classes,)), labels)
    >>> wrong, _ = mask_loss(Proposals((masks,), (classes.flip(1),)), labels)
    >>> bool(right < wrong / 3), large.argmax(1).tolist()
    (True, [[[0, 1], [0, 1]]])
    """
    count = proposals.classes[-1].shape[-1] - 1
    large = F.interpolate(proposals.logits(), labels.shape[-2:], mode="bilinear", align_corners=False)
    known = [one.unique() for one in labels]
    known = [one[one != IGNORE] for one in known]
    some = [i for i, one in enumerate(known) if len(one)]
    if not some:
        return 0 * (proposals.masks[-1].float().sum() + proposals.classes[-1].float().sum()), large
    about = SimpleNamespace(
        num_labels=count, no_object_weight=0.1, train_num_points=min(_MOST_POINTS, max(1, labels[0].numel() // 4)),
        oversample_ratio=3.0, importance_sample_ratio=0.75, class_weight=WEIGHTS["loss_cross_entropy"],
        mask_weight=WEIGHTS["loss_mask"], dice_weight=WEIGHTS["loss_dice"],
    )  # fmt: skip
    criterion = Mask2FormerLoss(about, WEIGHTS).to(labels.device)
    masks = [(labels[i] == known[i][:, None, None]).float() for i in some]
    targets = [known[i] for i in some]
    losses = [
        weight * value
        for m, c in zip(proposals.masks, proposals.classes, strict=True)
        for name, value in criterion(m.float()[some], c.float()[some], masks, targets).items()
        for weight in (WEIGHTS[name],)
    ]
    return torch.stack(losses).sum(), large
