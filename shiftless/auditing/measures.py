"""The measures of an audit: what each one measures, in what unit, and how one photo is scored by all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from shiftless.metrics import content_shift
from shiftless.reading.predicted import Prediction

if TYPE_CHECKING:
    from shiftless.backbones.perceptual import PerceptualModel

FINISHED = ", finished"
"""Suffix of the measures that are taken after denoising to the end."""
PERCEPTUAL = "perceptual"
_VARYING = ("spread", "seeds")


@dataclass(frozen=True)
class Measure:
    """One way to say how far content has shifted; 0 is not at all.

    about    what it is, in words for a table or a page
    digits   after the point, when shown
    """

    name: str
    about: str
    digits: int = 3


MEASURES = (
    Measure("structure", "1 - SSIM of lightness: local contrast and form"),
    Measure("scales", "1 - multi-scale SSIM of lightness: form, coarse and fine"),
    Measure("edges", "1 - F1 of Canny edges that find each other within 0.75% of the diagonal"),
    Measure("colour", "mean CIEDE2000 colour difference; 1 is just noticeable", digits=1),
    Measure(PERCEPTUAL, "1 - cosine of what another vision model sees"),
    Measure("latent", "squared error of the latent, in variances of the photo's own"),
    Measure("spread", "how much the predicted latent varies with the noise, in the same unit"),
    Measure("features", "1 - agreement of the features' self-similarity with a nearly clean reading's", digits=4),
    Measure("seeds", "1 - agreement of the features' self-similarity across noise draws", digits=4),
)  # fmt: skip
HEADLINE = "latent"
"""The measure that ranks by default: chosen on one half of the configurations of `shiftless bench mini-audit`."""


def expected(draws: int, finish: int, perceptual: bool) -> list[str]:
    """List the measures that an audit takes with `draws` noise draws and `finish` steps of denoising to the end.

    >>> expected(draws=1, finish=0, perceptual=False)
    ['structure', 'scales', 'edges', 'colour', 'latent', 'features']
    """
    names = [
        one.name
        for one in MEASURES
        if (perceptual or one.name != PERCEPTUAL) and (draws > 1 or one.name not in _VARYING)
    ]
    ends = [name for name in names if name not in ("features", *_VARYING)]
    return [*names, *(name + FINISHED for name in ends if finish)]


def shown(name: str, values: np.ndarray) -> str:
    """Write the mean of a measure's values as it is printed.

    >>> shown("colour, finished", np.array([1.0, 2.26]))
    '1.6'
    """
    return f"{float(values.mean()):.{measure_named(name).digits}f}"


def worded(name: str) -> str:
    """Say which content shift a measure gives, in the one way that pages, tables, answers and advice say it.

    >>> worded("latent"), worded("colour, finished")
    ('latent shift', 'colour shift, finished')
    """
    end = FINISHED if name.endswith(FINISHED) else ""
    return f"{name.removesuffix(FINISHED)} shift{end}"


def measure_named(name: str) -> Measure:
    """Return a measure by its name, with or without the suffix ", finished".

    >>> measure_named("colour, finished").digits
    1
    """
    return next(one for one in MEASURES if one.name == name.removesuffix(FINISHED))


def of_pictures(
    given: np.ndarray, predicted: np.ndarray, perceptual: PerceptualModel | None = None
) -> dict[str, content_shift.Shift]:
    """Compare one picture with another by every picture measure, how far and where; both H W 3 in [0, 1].

    >>> of_pictures(np.zeros((32, 32, 3)), np.zeros((32, 32, 3)))["colour"].value
    0.0
    """
    scores = {
        "structure": content_shift.structure(given, predicted),
        "scales": content_shift.scales(given, predicted),
        "edges": content_shift.edges(given, predicted),
        "colour": content_shift.colour(given, predicted),
    }
    if perceptual is not None:
        scores[PERCEPTUAL] = content_shift.perceptual(perceptual.look(given), perceptual.look(predicted))
    return scores


def of_latents(prediction: Prediction, others: Sequence[Prediction]) -> dict[str, float]:
    """Score the predicted latents; `others` are readings of the same photo with other noise."""
    scores = {"latent": content_shift.latent(prediction.clean, prediction.once).value}
    if prediction.finished is not None:
        scores["latent" + FINISHED] = content_shift.latent(prediction.clean, prediction.finished).value
    if others:
        scores["spread"] = content_shift.spread(
            [prediction.once, *(other.once for other in others)], prediction.clean
        ).value
    return scores


def of_features(prediction: Prediction, anchor: Prediction, others: Sequence[Prediction]) -> dict[str, float]:
    """Score features by their self-similarity, the mean over taps.

    anchor  the nearly clean reading, steered as this one is      others  readings with other noise
    """
    scores = {
        "features": _mean(
            [content_shift.features(prediction.maps[tap], anchor.maps[tap]).value for tap in prediction.maps]
        )
    }
    if others:
        readings = [prediction, *others]
        scores["seeds"] = _mean(
            [
                content_shift.features(readings[i].maps[tap], readings[j].maps[tap]).value
                for tap in prediction.maps
                for i in range(len(readings))
                for j in range(i)
            ]
        )
    return scores


def pixels(latent_pixels: torch.Tensor) -> np.ndarray:
    """Turn decoded pixels 3 H W in [-1, 1] into a picture H W 3 in [0, 1]."""
    return ((latent_pixels.float().clamp(-1, 1) + 1) / 2).permute(1, 2, 0).cpu().numpy().astype(np.float64)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
