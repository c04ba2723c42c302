"""Lovász-softmax: a loss whose minimum is that of one minus the mean IoU."""

from __future__ import annotations

import torch

from shiftless.errors import BadInput
from shiftless.metrics.segmentation import IGNORE


def lovasz_softmax(logits: torch.Tensor, labels: torch.Tensor, ignore: int = IGNORE) -> torch.Tensor:
    """Return the Lovász-softmax loss of a batch, in [0, 1]: the mean over the classes that are labelled in it.

    logits  B L H W
    labels  B H W, whole numbers from 0 to L - 1, and `ignore`, which is left out

    For each class, pixels are sorted by their error (one minus the class's share where it is labelled, the share
    elsewhere), and errors are weighed by how much each adds to the Jaccard loss of those before it. Where nothing is
    labelled the loss is 0. Raises BadInput for shapes that do not fit. Shares and sums are float32.

    Source: Berman et al., CVPR 2018, algorithm 1, for all pixels of a batch together.

    >>> labels = torch.tensor([[[0, 0, 1]]])
    >>> sure = torch.tensor([[[[9.0, -9.0, -9.0]], [[-9.0, 9.0, 9.0]]]])  # the second pixel is wrong
    >>> round(float(lovasz_softmax(sure, labels)), 3)
    0.5
    """
    if logits.ndim != 4 or labels.shape != (logits.shape[0], *logits.shape[2:]):
        raise BadInput(f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)}: give B L H W and B H W")
    known = labels != ignore
    shares = logits.float().softmax(1).movedim(1, -1)[known]  # N L
    truth = labels[known]
    losses = []
    for number in torch.unique(truth).tolist():
        there = truth == number
        errors = torch.where(there, 1 - shares[:, number], shares[:, number])
        ordered, order = errors.sort(descending=True)
        losses.append(ordered @ jaccard_steps(there[order]))
    return torch.stack(losses).mean() if losses else logits.float().sum() * 0


def jaccard_steps(there: torch.Tensor) -> torch.Tensor:
    """Return how much each pixel adds to the Jaccard loss of a class, were those before it wrong too: N float32.

    there  N, whether each pixel is labelled as the class, in order of falling errors

    >>> jaccard_steps(torch.tensor([True, False, True])).tolist()  # losses 1/2, 2/3, 1
    [0.5, 0.166..., 0.333...]
    """
    right = there.float()
    total = right.sum()
    losses = 1 - (total - right.cumsum(0)) / (total + (1 - right).cumsum(0))
    return torch.cat([losses[:1], losses.diff()])
