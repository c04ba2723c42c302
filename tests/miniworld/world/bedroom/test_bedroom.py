"""The world of bedrooms tells the truth about what it draws."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from miniworld.world.bedroom.captions import LEAST, NAMED, words
from miniworld.world.bedroom.choices import attributes, paints
from miniworld.world.bedroom.classes import CLASS, CLASSES
from miniworld.world.bedroom.picture import KINDS, BedroomPicture, build, draw_bedroom
from miniworld.world.bedroom.plan import stand
from miniworld.world.bedroom.stage import raster
from miniworld.world.kinds import COLOURS
from miniworld.world.looks import LOOKS
from miniworld.world.paint import SUPER
from shiftless.errors import BadInput

MANY = 120


@pytest.fixture(scope="module")
def pictures() -> list[BedroomPicture]:
    return [draw_bedroom(seed) for seed in range(MANY)]


def test_same_seed_same_picture() -> None:
    for look in LOOKS:
        a, b = draw_bedroom(5, look=look), draw_bedroom(5, look=look)
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.labels, b.labels)
        assert a.captions == b.captions
    assert not np.array_equal(draw_bedroom(5).image, draw_bedroom(6).image)


@pytest.mark.parametrize("seed", range(6))
def test_every_size_shows_the_same_room(seed: int) -> None:
    small, large = draw_bedroom(seed), draw_bedroom(seed, size=256)
    assert large.image.shape == (256, 256, 3)
    assert (large.labels[::2, ::2] == small.labels).mean() > 0.95
    assert large.captions == small.captions
    shrunk = cv2.resize(large.image, (128, 128), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(shrunk - small.image).mean() < 8


@pytest.mark.parametrize("look", LOOKS[1:])
def test_a_look_changes_pixels_only(look: str) -> None:
    a, b = draw_bedroom(3), draw_bedroom(3, look=look)
    assert np.array_equal(a.labels, b.labels)
    assert a.captions == b.captions
    assert np.abs(a.image.astype(int) - b.image).mean() > 15


def test_shapes_and_kinds(pictures: list[BedroomPicture]) -> None:
    assert len(CLASSES) == len(set(CLASSES)) == 29
    for p in pictures:
        assert p.image.shape == (128, 128, 3)
        assert p.image.dtype == p.labels.dtype == np.uint8
        assert p.labels.shape == (128, 128)
        assert p.labels.max() < len(CLASSES)
    assert {p.kind for p in pictures} == set(KINDS)


def test_every_class_occurs(pictures: list[BedroomPicture]) -> None:
    shares = np.mean([np.bincount(p.labels.ravel(), minlength=len(CLASSES)) > 0 for p in pictures], 0)
    assert {name: share for name, share in zip(CLASSES, shares) if share < 0.03} == {}
    assert (shares[[CLASS["bed"], CLASS["wall"], CLASS["ceiling"]]] == 1).all()


def test_masks_are_exact() -> None:
    """With every face painted by its class alone, each pixel off the edges has the colour of its label."""
    for seed in range(8):
        stage, _ = build(seed, 128)
        faces = stage.faces
        code = np.repeat(faces.classes[:, None] / 50.0, 3, 1)
        ones = np.ones(len(code))
        painted = faces.but(colour=code, pattern=np.zeros(len(code), int), glow=ones, grain=0 * ones)
        image = replace(stage, faces=painted, brightness=None).clean()
        cells = stage.canvas.reshape(128, SUPER, 128, SUPER).transpose(0, 2, 1, 3).reshape(128, 128, -1)
        whole = (cells == cells[..., :1]).all(2)
        assert whole.mean() > 0.7
        assert np.array_equal(np.rint(image[..., 0] * 50)[whole].astype(int), stage.classes[whole])
        assert (stage.canvas > 0).all()  # something is seen everywhere


def test_background_is_clutter_alone(pictures: list[BedroomPicture]) -> None:
    for p in pictures:
        if not p.attributes.get("clutter"):
            assert (p.labels != CLASS["background"]).all()
    assert any((p.labels == CLASS["background"]).any() for p in pictures)


def test_captions_name_what_is_shown(pictures: list[BedroomPicture]) -> None:
    plain = ("carpet", "curtain", "window", "door", "wardrobe", "pouf", "plant")
    for p in pictures:
        bare, middle, fine = p.captions
        assert bare == "a photo"
        assert middle == f"a photo of a {p.kind} bedroom"
        assert fine.startswith(middle)
        said = set(fine.replace(",", "").split())
        for name in plain:
            word = NAMED[name].split()[-1]
            assert (word in said) == ((p.labels == CLASS[name]).sum() >= LEAST), (name, fine)
        assert bool(said & {"chair", "armchair", "chairs"}) == ((p.labels == CLASS["chair"]).sum() >= LEAST), fine
        assert said <= set(words())
        assert len(fine.split()) <= 60


def test_colours_of_captions_are_the_paints() -> None:
    table = np.array(list(COLOURS.values())) / 255
    hits = []
    for seed in range(40):
        rng = np.random.default_rng([seed, 3])
        a = attributes(rng)
        stand(rng, a)
        chosen = paints(rng, a)
        faces = build(seed, 32)[0].faces
        for name, key, thing in (
            ("duvet", "duvet", "bed"), ("carpet", "carpet", "carpet"), ("curtain_colour", "curtain", "curtain"),
            ("pouf_colour", "pouf", "pouf"), ("pillow", "pillow", "pillow"),
        ):  # fmt: skip
            there = faces.colour[faces.classes == CLASS[thing]]
            if len(there):
                paint = chosen[key].colour
                assert (np.abs(there - paint).max(1) < 1e-9).any(), (seed, name)
                hits.append(list(COLOURS)[int(((table - paint) ** 2).sum(1).argmin())] == a[name])
    assert np.mean(hits) >= 0.9


def test_light_follows_the_time(pictures: list[BedroomPicture]) -> None:
    mean = {
        time: np.mean([p.image.mean() for p in pictures if p.attributes["time"] == time])
        for time in ("day", "dusk", "night")
    }
    assert mean["day"] > mean["dusk"] > mean["night"] > 30


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(BadInput, match="look 'oil' is unknown"):
        draw_bedroom(0, look="oil")
    with pytest.raises(BadInput, match="the seed must be 0 or more"):
        draw_bedroom(-1)
    with pytest.raises(BadInput, match="the size 16 or more"):
        draw_bedroom(0, size=8)


def test_near_things_hide_far_ones() -> None:
    """The order of painting agrees with the depth of every face at every pixel, save where soft things meet."""
    for seed in (5, 29, 84, 95):
        stage, _ = build(seed, 64)
        faces, seen, ray = stage.faces, stage.seen, stage.camera.rays(64).astype(float)
        offset = ((faces.o - stage.camera.eye) * faces.normal).sum(1)
        nearest, front = np.full((64, 64), np.inf), np.zeros((64, 64), int)
        for face, polygon in faces.polygons:
            alone = raster(faces.but(polygons=[(face, polygon)]), 64)[SUPER // 2 :: SUPER, SUPER // 2 :: SUPER] > 0
            depth = offset[face] / np.minimum(np.einsum("k,khw->hw", faces.normal[face], ray), -1e-6)
            closer = alone & (depth < nearest)
            nearest[closer], front[closer] = depth[closer], face
        steep = np.einsum("hwk,khw->hw", faces.normal[seen], ray)
        shown = offset[seen] / np.minimum(steep, -1e-6)
        wrong = (shown > nearest + 0.12) & (faces.things[seen] != faces.things[front])
        assert wrong.mean() < 0.01
