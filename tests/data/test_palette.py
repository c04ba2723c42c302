from __future__ import annotations

import numpy as np

from shiftless.data.palette import class_colours, palette


def test_a_class_keeps_its_colour_however_many_there_are():
    assert palette(255)[:34].tolist() == palette(34).tolist()
    assert class_colours(["background", "a", "b"])[1:].tolist() == class_colours(["a", "b"]).tolist()


def test_colours_are_told_apart():
    colours = class_colours(["background", *map(str, range(34))]).astype(int)
    apart = np.abs(colours[:, None] - colours[None]).max(2) + 999 * np.eye(35, dtype=int)
    assert apart.min() >= 20
    assert len(np.unique(palette(60), axis=0)) == 60
