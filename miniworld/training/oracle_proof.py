"""Accuracy of the oracle, on pictures that no training has used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from miniworld.datasets import photos, seeds
from miniworld.oracle import LABELS, Oracle, OracleReport, truth_labels, truth_points
from miniworld.training.labelled import reconstructed
from miniworld.world.picture import Picture
from shiftless.backbones.registry import load
from shiftless.metrics.iou import confusion, ious
from shiftless.metrics.pck import hits, pooled


def prove_oracle(oracle: Oracle, n: int = 200, look: str = "photo") -> dict[str, dict[str, float]]:
    """Try an oracle on n unseen pictures of a look, as drawn ("drawn") and as the embedded autoencoder keeps them
    ("kept"): the scores of `rightness` for each.

    >>> from miniworld.oracle import load_oracle
    >>> proof = prove_oracle(load_oracle(), n=2)
    >>> list(proof), list(proof["kept"])
    (['drawn', 'kept'], ['miou', 'accuracy', 'common', 'pck'])
    """
    pictures = list(photos(seeds("oracle proof", n).start, n, look))
    drawn = np.stack([picture.image for picture in pictures])
    shown = {"drawn": drawn, "kept": reconstructed(load("mini", device="cpu"), drawn)}
    return {name: rightness(oracle.look(images), pictures) for name, images in shown.items()}


def rightness(report: OracleReport, pictures: Sequence[Picture]) -> dict[str, float]:
    """Score what an oracle says of B pictures by their truth.

    miou      mean IoU over the labels that the pictures show, pixels of all pictures pooled (Everingham et al. 2010)
    accuracy  share of right pixels
    common    share of the commonest label's pixels: the accuracy of a blind guess
    pck       share of the visible points within a tenth of the box's longer side (Yang and Ramanan 2013)
    """
    counts = np.zeros((len(LABELS), len(LABELS)), np.int64)
    right, total = 0, 0
    for i, picture in enumerate(pictures):
        counts += confusion(truth_labels(picture), report.labels[i], len(LABELS))
        true = truth_points(picture)
        known = np.isfinite(true).all(1)
        if known.any():
            right += int(hits(report.points[i][known], true[known], picture.box).sum())
            total += int(known.sum())
    shown = counts.sum(1)
    return {
        "miou": float(ious(counts)[shown > 0].mean()),
        "accuracy": float(counts.diagonal().sum() / counts.sum()),
        "common": float(shown.max() / counts.sum()),
        "pck": pooled(right, total),
    }
