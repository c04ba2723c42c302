from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from shiftless.errors import BadInput
from shiftless.view.curves import curves_picture, draw_curves

CURVES = {"bare": {100: (0.2, 0.1, 0.3), 600: (0.5, 0.4, 0.6)}, "costs $1 or $2 " + "x" * 50: {100: (0.1, 0.05, 0.2)}}
WORDS = {"title": "12 photos", "metric": "shift"}


def test_without_matplotlib_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(BadInput, match=r"pip install shiftless\[view\]"):
        draw_curves(tmp_path / "a.png", CURVES, **WORDS)
    assert not (tmp_path / "a.png").exists()


def test_every_curve_is_drawn_in_a_colour_of_its_own_on_either_paper():
    pytest.importorskip("matplotlib")
    for theme, paper in (("light", (255, 255, 255)), ("dark", (22, 24, 29))):
        drawn = np.array(curves_picture(CURVES, **WORDS, theme=theme))
        assert tuple(drawn[2, 2]) == paper
        for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
            assert (drawn == colour).all(2).sum() > 50


def test_a_higher_score_is_drawn_higher():
    pytest.importorskip("matplotlib")
    drawn = np.array(curves_picture({"a": {100: (0.1, 0.1, 0.1), 600: (0.9, 0.9, 0.9)}}, **WORDS))
    rows, columns = np.nonzero((drawn[:, :1000] == (0x00, 0x72, 0xB2)).all(2))
    assert rows[columns == columns.max()].mean() < rows[columns == columns.min()].mean() - 200


def test_writes_the_kinds_it_names_and_no_other(tmp_path):
    pytest.importorskip("matplotlib")
    with Image.open(draw_curves(tmp_path / "a.png", CURVES, **WORDS, best=(600, "bare"), floor=0.3)) as picture:
        assert picture.size == (1260, 690)
    assert b"<svg" in draw_curves(tmp_path / "a.svg", CURVES, **WORDS).read_bytes()
    with pytest.raises(BadInput, match=r"\.png, \.pdf, \.svg"):
        draw_curves(tmp_path / "a.bmp", CURVES, **WORDS)
    with pytest.raises(BadInput, match="theme"):
        curves_picture(CURVES, **WORDS, theme="sepia")
