"""Shift: zero for the picture itself, one for its mean, and a table of what is at hand."""

from __future__ import annotations

import pytest
import torch

import shiftless
from miniworld.tables.methods import readings_of
from miniworld.tables.technique_shift import at, run, shift


def test_shift_counts_inside_the_box_only():
    clean = torch.zeros(1, 4, 32, 32)
    clean[..., ::2] = 2.0  # variance 1 anywhere
    predicted = clean.clone()
    predicted[..., 16:, :] += 0.5
    assert shift(clean, predicted, (0, 0, 128, 64)) == 0
    assert shift(clean, predicted, (0, 64, 128, 128)) == pytest.approx(0.25)
    assert shift(clean, predicted, (0, 32, 128, 96)) == pytest.approx(0.125)


def test_readings_move_with_their_walks():
    moved = at(readings_of("photo"), 500)
    assert {r.timestep for r in moved.values()} == {500}
    assert moved["control0"].start == 540
    assert moved["base0"].start is None


def test_a_table_end_to_end(capsys):
    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    table = run(model, n=3, looks=("photo",), timesteps=(100,))
    assert {row.method for row in table.rows} == {"baseline, photo", "+ ControlNet, photo"}
    base, steered = (table.value(name, "shift, t = 100") for name in ("baseline", "+ ControlNet"))
    assert table.value("+ ControlNet", "saved, t = 100") == pytest.approx((base - steered) / base)
    first = capsys.readouterr().err.splitlines()[0]  # 3 x (1 for the baseline, 2 + 1 for the walk)
    assert first == "measuring content shift on 3 pictures of 1 look: 12 denoiser calls"
