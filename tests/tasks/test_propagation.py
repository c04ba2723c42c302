"""Propagation: a square that moves over a texture keeps its label, and labels are those of the published protocol."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.image import Frame
from shiftless.taps.names import Tap
from shiftless.tasks.propagation import Propagation, propagate_mask, propagate_points

SIDE, CELL = 16, 4  # cells of a frame along each side, and pixels of a cell
RNG = np.random.default_rng(0)
GROUND = RNG.normal(size=(8, SIDE, SIDE))
SQUARE = RNG.normal(size=(8, 4, 4))


def frame(x, y, hidden=False):
    """Features of a frame: a square of four by four cells at column x and row y, over ground that stands still."""
    value = GROUND.copy()
    if not hidden:
        value[:, y : y + 4, x : x + 4] = SQUARE
    pixels = SIDE * CELL
    maps = {"up1": torch.from_numpy(value)[None].float()}
    return FeatureMaps(maps, {"up1": Tap("up1", 8, CELL, "")}, Frame((pixels, pixels), (pixels, pixels)), name=f"{x}")


def mask(x, y):
    made = np.zeros((SIDE * CELL, SIDE * CELL), np.uint8)
    made[y * CELL : (y + 4) * CELL, x * CELL : (x + 4) * CELL] = 1
    return made


PLACES = [(1, 2), (2, 3), (4, 4), (5, 6), (7, 7), (8, 9)]


def test_a_moving_square_keeps_its_mask():
    found = list(propagate_mask((frame(*place) for place in PLACES), mask(1, 2), Propagation(last=2, topk=1)))
    assert len(found) == len(PLACES)
    for got, place in zip(found, PLACES, strict=True):
        right = mask(*place)
        assert got.dtype == right.dtype
        assert (got & right).sum() / (got | right).sum() > 0.8  # ground that was covered before is like nothing known


def test_points_move_with_the_square_and_scores_tell_when_it_is_hidden():
    points = [(10.0, 14.0), (60.0, 3.0)]  # one on the square, one on the ground
    frames = [frame(*place) for place in PLACES] + [frame(8, 9, hidden=True)]
    found = list(propagate_points(frames, points, Propagation(last=2, topk=1)))
    for (x, y), (got, scores) in zip(PLACES, found, strict=False):
        np.testing.assert_allclose(got[0], (10 + (x - 1) * CELL, 14 + (y - 2) * CELL), atol=0.01)
        np.testing.assert_allclose(got[1], points[1], atol=0.01)
        assert scores.min() > 0.99
    assert found[-1][1][0] < 0.9
    assert found[-1][1][1] > 0.99


def reference(how, features, sources):
    """The protocol by loops: for each cell the cells near enough of all sources, the best of them, a softmax."""
    _, h, w = features.shape
    out = torch.zeros(len(sources[0][1]), h, w)
    for y in range(h):
        for x in range(w):
            near = [
                (float(features[:, y, x] @ source[:, i, j]) / how.temperature, labels[:, i, j])
                for source, labels in sources
                for i in range(h)
                for j in range(w)
                if max(abs(i - y), abs(j - x)) <= how.radius
            ]
            best = sorted(near, key=lambda one: -one[0])[: how.topk]
            weights = torch.tensor([cosine for cosine, _ in best]).softmax(0)
            out[:, y, x] = sum(weight * labels for weight, (_, labels) in zip(weights, best, strict=True))
    return out


@pytest.mark.parametrize("at_once", [2**24, 40])
def test_labels_are_those_of_the_protocol(monkeypatch, at_once):
    monkeypatch.setattr("shiftless.tasks.propagation._AT_ONCE", at_once)
    generator = torch.Generator().manual_seed(0)
    unit = [F.normalize(torch.randn(3, 4, 5, generator=generator), dim=0) for _ in range(3)]
    sources = [(one, torch.rand(2, 4, 5, generator=generator)) for one in unit[1:]]
    how = Propagation(radius=1, topk=3, temperature=0.2)
    torch.testing.assert_close(how.carried(unit[0], sources), reference(how, unit[0], sources))


def test_the_first_frame_and_the_last_few_give_labels(monkeypatch):
    given = []
    monkeypatch.setattr(Propagation, "carried", lambda self, one, sources: given.append(len(sources)) or sources[0][1])
    first = torch.zeros(1, SIDE, SIDE)
    assert len(list(Propagation(last=2).labels((frame(*place) for place in PLACES), first))) == 6
    assert given == [1, 2, 3, 3, 3]
    assert list(propagate_mask([], mask(0, 0))) == []
    assert list(propagate_points([], [(0, 0)])) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Propagation(topk=0), "topk=0: give a whole number from 1 up"),
        (lambda: Propagation(radius=-1), "radius=-1"),
        (lambda: Propagation(temperature=0), "temperature=0: give a number above 0"),
        (
            lambda: list(propagate_mask([frame(0, 0)], np.zeros((2, 3), int))),
            "has 3x2 pixels, the frame 64x64",
        ),
        (lambda: list(propagate_mask([frame(0, 0)], np.zeros((64, 64)))), "whole numbers from 0"),
        (lambda: list(propagate_points([frame(0, 0)], [(99, 0)])), "is outside the image"),
        (lambda: list(Propagation().labels([frame(0, 0)], torch.zeros(1, 2, 3))), "the labels have 3x2"),
    ],
)
def test_what_cannot_be_carried_on_is_one_line(call, message):
    with pytest.raises(BadInput, match=message):
        call()
