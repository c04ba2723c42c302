"""Real photos, where they are at hand: set SHIFTLESS_PAIRS to a folder in the layout of docs/pairs.md."""

from __future__ import annotations

import os

import pytest

import shiftless
from shiftless.bench.folder import run
from shiftless.data.pairs import read_pairs

FOLDER = os.environ.get("SHIFTLESS_PAIRS", "")
pytestmark = pytest.mark.skipif(not FOLDER, reason="SHIFTLESS_PAIRS names no folder of annotated pairs")


def test_every_pair_is_whole():
    pairs = read_pairs(FOLDER)
    assert pairs
    for pair in pairs:
        (h, w), points = pair.target_size, pair.target_points
        assert ((points >= 0) & (points <= (w, h))).all()


def test_the_embedded_model_reads_them():
    table = run(shiftless.load("mini"), FOLDER, shiftless.Recipe(), n=8, controls=False, progress=False)
    assert 0 <= table.value("baseline", "PCK@0.1 img") <= 1
