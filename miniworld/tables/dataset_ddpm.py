"""The row DatasetDDPM: one network that learns from an ensemble's labels of pictures that the DDPM generated."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shiftless.backbones.base import Backbone
from shiftless.backbones.generation import generate
from shiftless.bench.network import score_network
from shiftless.data.labelledphoto import LabelledPhoto, LabelledPhotos
from shiftless.features import Bucket
from shiftless.metrics.segmentation import Confusion
from shiftless.reading import extract
from shiftless.recipe import Recipe
from shiftless.tasks.pixels import PixelEnsemble
from shiftless.training.network import NetworkSettings, fit_network
from shiftless.training.pseudolabels import most_certain

PICTURES, SAMPLING = 200, 25
"""Pictures that are generated, and the denoiser calls of each; 50,000 pictures were published."""
DROPPED = 0.1
TRAINING: Mapping[str, Any] = {"steps": 600, "batch": 8, "lr": 1e-3}


@dataclass(frozen=True, eq=False)
class Generated:
    """Pictures that a DDPM generated, with its features of them: read once, labelled anew by each split's ensemble."""

    pictures: list[np.ndarray]
    buckets: list[Bucket]


def generated(
    ddpm: Backbone, recipe: Recipe, pictures: int = PICTURES, steps: int = SAMPLING, seed: int = 0
) -> Generated:
    """Generate pictures with the DDPM, and read them by the recipe that its own row takes.

    >>> from shiftless.backbones.registry import load
    >>> from shiftless.recipe import Recipe
    >>> one = Generated([np.zeros((32, 32, 3), np.uint8)], [])
    >>> one.pictures[0].shape
    (32, 32, 3)
    """
    made = list(generate(ddpm, pictures, steps=steps, seed=seed, eta=1.0))
    return Generated(made, list(extract(ddpm, made, [recipe], dtype="bf16")))


def distilled(
    made: Generated,
    head: PixelEnsemble,
    test: LabelledPhotos,
    *,
    side: int,
    seed: int = 0,
    training: Mapping[str, Any] = TRAINING,
    architecture: Any = "tiny",
) -> list[Confusion]:
    """Label generated pictures by an ensemble, train a network on all but the most uncertain, and score it.

    Returns the counts of each test photo. Source: Baranchuk et al., ICLR 2022, DatasetDDPM.
    """
    parts = [head.predict([bucket], side=side) for bucket in made.buckets]
    left = most_certain([float(one.uncertainty.mean()) for one in parts], DROPPED)
    labelled: Sequence[LabelledPhoto] = [
        LabelledPhoto(f"generated {i}", made.pictures[i], f"generated {i}", parts[i].mask, len(head.classes))
        for i in left
    ]
    settings = NetworkSettings(seed=seed, **training)
    with tempfile.TemporaryDirectory() as place:
        network = fit_network(
            labelled, head.classes, f"{place}/net", settings, architecture=architecture, device="cpu"
        ).network
        return score_network(network, test)
