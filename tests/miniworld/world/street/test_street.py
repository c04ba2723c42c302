"""The world of streets tells the truth about what it draws."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from miniworld.world.kinds import COLOURS as NAMED_COLOURS
from miniworld.world.looks import LOOKS
from miniworld.world.paint import SUPER
from miniworld.world.street.camera import Camera
from miniworld.world.street.captions import LONGEST, NAMES, length, seen, words
from miniworld.world.street.classes import CLASS, CLASSES, COLOURS, VOID
from miniworld.world.street.faces import VALUE, Faces
from miniworld.world.street.light import BORDER
from miniworld.world.street.picture import KINDS, StreetPicture, draw_street
from miniworld.world.street.traffic import put
from miniworld.world.street.weather import TIMES, WEATHERS, draw_air
from shiftless.errors import BadInput

MANY = 150
VEHICLES = ("train", "bus", "truck", "car", "motorcycle", "bicycle")


@pytest.fixture(scope="module")
def pictures() -> list[StreetPicture]:
    return [draw_street(seed) for seed in range(MANY)]


def test_same_seed_same_picture() -> None:
    for look in LOOKS:
        a, b = draw_street(5, look=look), draw_street(5, look=look)
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.labels, b.labels)
        assert a.captions == b.captions
    assert not np.array_equal(draw_street(5).image, draw_street(6).image)


@pytest.mark.parametrize("seed", range(6))
def test_every_size_shows_the_same_street(seed: int) -> None:
    small, large = draw_street(seed), draw_street(seed, size=256)
    assert large.image.shape == (256, 256, 3)
    assert (large.labels[::2, ::2] == small.labels).mean() > 0.95
    assert large.captions == small.captions
    shrunk = cv2.resize(large.image, (128, 128), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(shrunk - small.image).mean() < 8


@pytest.mark.parametrize("look", LOOKS[1:])
def test_a_look_changes_pixels_only(look: str) -> None:
    a, b = draw_street(3), draw_street(3, look=look)
    assert np.array_equal(a.labels, b.labels)
    assert a.captions == b.captions
    assert np.abs(a.image.astype(int) - b.image).mean() > 15


def test_shapes_and_kinds(pictures: list[StreetPicture]) -> None:
    assert len(CLASSES) == len(set(CLASSES)) == len(COLOURS) == 19
    for p in pictures:
        assert p.image.shape == (128, 128, 3)
        assert p.image.dtype == p.labels.dtype == np.uint8
        assert p.labels.shape == (128, 128)
        assert set(np.unique(p.labels)) <= {*range(19), VOID}
    assert {p.kind for p in pictures} == set(KINDS)
    assert {p.attributes["time"] for p in pictures} == set(TIMES)
    assert {p.attributes["weather"] for p in pictures} == set(WEATHERS)


def test_every_class_occurs(pictures: list[StreetPicture]) -> None:
    shares = np.mean([np.bincount(p.labels.ravel(), minlength=256)[:19] > 0 for p in pictures], 0)
    assert {name: share for name, share in zip(CLASSES, shares) if share < 0.03} == {}
    assert (shares[[CLASS["road"], CLASS["building"], CLASS["sky"]]] > 0.99).all()


def test_void_is_the_border_and_the_bonnet_alone(pictures: list[StreetPicture]) -> None:
    rim = max(1, round(BORDER * 128))
    for p in pictures:
        void = p.labels == VOID
        assert void[:rim].all()
        assert void[:, :rim].all()
        assert void[:, -rim:].all()
        assert void[-rim:].all()
        assert not void[rim : int(128 * 0.9), rim:-rim].any()
        columns = void[int(128 * 0.9) :, rim:-rim].astype(int)
        assert (np.diff(columns, axis=0) >= 0).all()  # nothing is scored below the bonnet's edge


def test_no_sky_is_seen_below_the_horizon(pictures: list[StreetPicture]) -> None:
    for p in pictures:
        below = p.labels[int(p.attributes["horizon"] * 128) + 2 :]
        assert not (below == CLASS["sky"]).any()


def _car() -> Faces:
    rng = np.random.default_rng(4)
    faces = Faces(Camera(1.5, 0.9, 0.5), draw_air(rng, "day", "cloudy"))
    put(rng, faces, "car", 0.0, 8.0, 0.0, "ahead")
    return faces


def test_masks_are_exact() -> None:
    """Of a car on an empty plain, every pixel that its faces cover has its class, and no other."""
    faces = _car()
    canvas = faces.raster(128)
    cover = np.zeros(canvas.shape[:2], np.uint8)
    points, starts, *_ = faces._place()
    fixed = np.rint(points * (128 * SUPER) * 16 - 8).astype(np.int32)
    for (_, n, count, *_), start in zip(faces.items, starts):
        for shape in fixed[start : start + int(n)].reshape(int(count), -1, 2):
            cv2.fillPoly(cover, [shape], 1, cv2.LINE_8, 4)
    assert 0.02 < cover.mean() < 0.2
    assert np.array_equal(canvas[..., 3] % VALUE, np.where(cover > 0, CLASS["car"], CLASS["sky"]))


def test_a_nearer_thing_hides_a_farther_one_and_looks_larger() -> None:
    rng = np.random.default_rng(4)
    faces = Faces(Camera(1.5, 0.9, 0.5), draw_air(rng, "day", "cloudy"))
    for z in (9.0, 30.0):
        put(rng, faces, "car", 0.0, z, 0.0, "ahead")
    put(rng, faces, "car", -3.0, 30.0, np.pi, "coming towards us")
    faces.measure(faces.raster(128))
    near, hidden, beside = (thing.visible for thing in faces.things)
    assert near > 3 * beside > 0
    assert hidden < 0.2 * beside
    assert [thing.view for thing in faces.things] == ["back", "back", "front"]


def test_captions_name_what_is_shown(pictures: list[StreetPicture]) -> None:
    for p in pictures:
        bare, middle, fine = p.captions
        assert bare == "a photo"
        assert fine.startswith(middle)
        said = set(fine.replace(",", "").split())
        things = p.attributes["things"]
        for name in VEHICLES:
            named = NAMES.get(name, name) in said
            shown = bool(seen(things, name))
            assert named == shown or (name == "train" and p.kind == "tram street"), fine
            if shown:
                assert (p.labels == CLASS[name]).any(), (name, fine)
        assert bool(said & {"person", "people"}) == bool(seen(things, "person")), fine
        if seen(things, "person"):
            assert (p.labels == CLASS["person"]).any()
        assert ("rider" in said) == bool(seen(things, "rider"))
        assert ("light" not in said) or (p.labels == CLASS["traffic light"]).any()
        assert ("trees" not in said) or (p.labels == CLASS["vegetation"]).any()
        assert said <= set(words())
        assert length(fine) <= LONGEST


def test_what_shows_much_is_named(pictures: list[StreetPicture]) -> None:
    for p in pictures:
        for name in (*VEHICLES, "rider"):
            if (p.labels == CLASS[name]).mean() > 0.012 and name != "car":
                assert NAMES.get(name, name) in p.captions[2], (name, p.captions[2])


def test_colours_of_captions_are_the_paints() -> None:
    hits = total = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        faces = Faces(Camera(1.5, 0.9, 0.5), draw_air(rng, "day", "cloudy"))
        put(rng, faces, "car", 0.0, 8.0, 0.0, "ahead")
        drawn = [np.array(item[5:8]) / faces.air.shade(0, 0, -1) for item in faces.items]
        wanted = np.array(NAMED_COLOURS[faces.things[0].colour], float)
        total += 1
        hits += min(np.abs(colour - wanted).max() for colour in drawn) < 34
    assert hits >= 0.95 * total


def test_light_follows_the_time(pictures: list[StreetPicture]) -> None:
    mean = {
        time: np.mean([p.image.mean() for p in pictures if p.attributes["time"] == time])
        for time in ("day", "dusk", "night")
    }
    assert mean["day"] > mean["dusk"] > mean["night"] > 20


def test_a_bend_moves_far_things_sideways() -> None:
    straight, bent = Camera(1.5, 0.9, 0.5), Camera(1.5, 0.9, 0.5, bend=0.01)
    x, z, heading = bent.anchor(0.0, 20.0)
    assert (x, z) == pytest.approx((2.0, 20.0))
    assert heading == pytest.approx(np.arctan(0.2))
    assert straight.anchor(0.0, 20.0) == (0.0, 20.0, 0.0)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(BadInput, match="look 'oil' is unknown"):
        draw_street(0, look="oil")
    with pytest.raises(BadInput, match="kind 'canal' is unknown"):
        draw_street(0, kind="canal")
    with pytest.raises(BadInput, match="the seed must be 0 or more"):
        draw_street(-1)
    with pytest.raises(BadInput, match="the size 16 or more"):
        draw_street(0, size=8)
