"""Colours of classes by a rule, so that the same class has the same colour however many there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BACKGROUND = "background"
_GREY = (60, 60, 60)
_GOLDEN, _FIRST = 137.50776, 25.0  # degrees between the hues of two classes that follow each other, and the first hue
_LIGHTNESS, _CHROMA = (0.65, 0.85, 0.45, 0.75, 0.55), 0.18
_LMS = np.array([[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]])
_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def palette(n: int) -> np.ndarray:
    """Return n colours, n 3 uint8 sRGB; the first m of them are `palette(m)`.

    Hues follow each other by the golden angle, at five lightnesses in turn and one chroma, in OKLCH (Ottosson, "A
    perceptual color space for image processing", 2020); what sRGB cannot show is clipped. Any two of the first 34 are
    0.06 apart in OKLab or more, where 0.02 is just noticed.

    >>> palette(3).tolist()
    [[232, 88, 84], [34, 241, 170], [103, 49, 168]]
    """
    index = np.arange(n)
    hue = np.deg2rad(_FIRST + _GOLDEN * index)
    lab = np.stack([np.resize(_LIGHTNESS, n), _CHROMA * np.cos(hue), _CHROMA * np.sin(hue)], 1)
    linear = ((lab @ _LMS.T) ** 3 @ _RGB.T).clip(0, 1)
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(shown * 255).astype(np.uint8)


def class_colours(classes: Sequence[str]) -> np.ndarray:
    """Return a colour for each class, L 3 uint8: those of `palette`, but dark grey for a first one called background.

    >>> class_colours(["background", "leg"]).tolist()
    [[60, 60, 60], [232, 88, 84]]
    """
    if classes and classes[0] == BACKGROUND:
        return np.concatenate([np.array([_GREY], np.uint8), palette(len(classes) - 1)])
    return palette(len(classes))
