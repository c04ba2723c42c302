from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from shiftless.backbones.base import Spec
from shiftless.backbones.registry import load
from shiftless.bench import folder
from shiftless.bench.pairs import (
    ONE,
    TRIVIAL,
    UNTRAINED,
    Scores,
    by_category,
    by_prompt,
    describe,
    evaluate,
    flip_with,
    pair_visits,
    photos_of,
    run_pairs,
    same_place,
    score,
)
from shiftless.data.photopair import PhotoPair
from shiftless.errors import BadInput
from shiftless.features import Bucket, FeatureMaps
from shiftless.image import Frame, open_photo
from shiftless.metrics.bootstrap import interval
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap
from shiftless.tasks.correspondence import match

SIZE = (64, 96)


def pair(source: str, target: str, points: list[tuple[float, float]], shift: float = 0) -> PhotoPair:
    source_points = np.array(points, float)
    box = (0.0, 0.0, 48.0, 32.0)
    return PhotoPair(
        source, target, source_points, source_points + [shift, 0], SIZE, SIZE, box, "cat", f"{source}{target}"
    )


def smooth(seed: int) -> torch.Tensor:
    return F.interpolate(torch.randn(1, 16, 4, 6, generator=torch.manual_seed(seed)), (8, 16), mode="bicubic")


class Reader:
    """Features by name: photo "s<n>" is photo "0" moved n cells of 8 pixels to the right. Counts what it reads."""

    def __init__(self, size: tuple[int, int] = SIZE) -> None:
        self.read: list[str] = []
        self.frame = Frame(size, SIZE)

    def __call__(self, photos):
        for photo in photos:
            self.read.append(photo)
            cells = smooth(0)[..., 3 - int(photo[1:]) :][..., :12]
            maps = {"good": cells, "bad": torch.randn(1, 4, 2, 3, generator=torch.manual_seed(int(photo[1:])))}
            taps = {name: Tap(name, m.shape[1], 8, "") for name, m in maps.items()}
            yield Bucket((FeatureMaps(maps, taps, self.frame, name=photo),))


POINTS = [(30.0, 20.0), (50.0, 40.0), (61.0, 33.0)]
PAIRS = [
    pair("s0", "s1", POINTS, 8),
    pair("s1", "s2", POINTS, 8),
    pair("s0", "s2", POINTS, 16),
    pair("s2", "s2", POINTS),
]


def test_true_features_find_every_point_and_random_ones_do_not():
    result = evaluate(PAIRS, Reader(), {"good": (0, ["good"]), "bad": (0, ["bad"])})
    assert result["good"].img.tolist() == result["good"].totals.tolist() == [3, 3, 3, 3]
    assert result["good"].bbox.sum() >= 11
    assert result["bad"].img[:3].sum() < 5


def test_each_photo_is_read_once_and_no_order_of_pairs_matters():
    reader = Reader()
    forward = evaluate(PAIRS, reader, {"good": (0, ["good"])})["good"]
    assert reader.read == ["s0", "s1", "s2"]
    backward = evaluate(PAIRS[::-1], Reader(), {"good": (0, ["good"])})["good"]
    assert forward.bbox.tolist() == backward.bbox.tolist()[::-1]


def test_a_photo_of_another_size_than_annotated_is_named():
    with pytest.raises(BadInput, match="s0: the annotation says 96x64 pixels, the picture has 50x40"):
        evaluate(PAIRS, Reader((40, 50)), ONE)


def turning(photos: dict[str, np.ndarray], frame: tuple[int, int] = SIZE):
    """A reader of photos whose features are their own pixels, and of which way they face: the side that is brighter."""
    read: list[str] = []

    def reader(images):
        for image in images:
            photo = open_photo(photos.get(image, image) if isinstance(image, str) else image)
            read.append(
                next((name for name, pixels in photos.items() if np.array_equal(pixels, photo.array)), "mirrored")
            )
            cells = torch.from_numpy(photo.array[::8, ::8].copy()).permute(2, 0, 1)[None].float()
            way = torch.full(
                (1, 1, *cells.shape[2:]), float(np.sign(photo.array[:, -8:].mean() - photo.array[:, :8].mean()))
            )
            maps = {"good": torch.cat([cells - 128, 100 * way], 1)}
            yield Bucket((FeatureMaps(maps, {"good": Tap("good", 4, 8, "")}, Frame(frame, frame)),))

    return reader, read


def blocks(seed: int) -> np.ndarray:
    """A picture of 8 x 12 blocks that is brighter to the right."""
    colours = np.random.default_rng(seed).integers(0, 200, (8, 12, 3))
    colours[:, -1], colours[:, 0] = 255, 0
    return np.kron(colours, np.ones((8, 8, 1))).astype(np.uint8)


def test_a_mirrored_target_is_found_with_flip_alone_and_each_source_is_mirrored_once():
    photos = {"a": blocks(0), "b": blocks(1)}
    photos["c"] = photos["a"][:, ::-1].copy()
    points = np.array([[20.0, 20.0], [44.0, 12.0], [76.0, 52.0]])
    mirrored = points * [-1, 1] + [96, 0]
    box = (0.0, 0.0, 48.0, 32.0)
    opened = {name: open_photo(pixels, name=name) for name, pixels in photos.items()}

    def one(a, b, there):
        return PhotoPair(opened[a], opened[b], points, there, SIZE, SIZE, box, "cat", a + b)

    pairs = [one("a", "c", mirrored), one("a", "a", points), one("b", "b", points), one("c", "c", points)]
    read_plain, plain = turning(photos)
    read_turned, turned = turning(photos)
    visits = list(pair_visits(pairs, read_plain, read_turned))
    assert sorted(visit.row for visit in visits) == [0, 1, 2, 3]
    assert (plain, turned) == (["a", "c", "b"], ["c", "a", "mirrored"])
    for visit in visits:
        pair = pairs[visit.row]
        either = flip_with(visit.mirrored[0])
        answer = match(visit.source[0], visit.target[0], pair.source_points, refine="cell", **either)
        assert answer.flipped == (pair.id == "ac")
        assert answer.points.tolist() == pair.target_points.tolist()  # cells' middles
    assert [visit.mirrored for visit in pair_visits(pairs, read_plain)] == [None] * 4


def test_a_row_with_flip_stands_beside_the_baseline_with_its_gain_and_its_cost(monkeypatch):
    photos = {"a": blocks(0), "b": blocks(1)}
    opened = {name: open_photo(pixels, name=name) for name, pixels in photos.items()}
    turned = {name: open_photo(pixels[:, ::-1].copy(), name=f"{name}2") for name, pixels in photos.items()}
    points = np.array([[20.0, 20.0], [44.0, 12.0], [76.0, 52.0]])
    box = (0.0, 0.0, 48.0, 32.0)
    pairs = [
        PhotoPair(opened[name], turned[name], points, points * [-1, 1] + [96, 0], SIZE, SIZE, box, name, name)
        for name in photos
    ]
    monkeypatch.setattr("shiftless.bench.pairs.reader", lambda *_: turning(photos)[0])
    model = SimpleNamespace(spec=Spec("fake", "sd", 64, 64, (4, 8)))
    options = {"controls": False, "progress": False, "refine": "cell", "groups": by_category(pairs)}
    table = run_pairs("b", model, pairs, Recipe(label="x"), flip=True, **options)
    methods = list(dict.fromkeys(row.method for row in table.rows))
    assert methods[1:3] == ["baseline: x", "baseline with flip: x"]
    assert methods[3:5] == ["baseline, a (1 pair)", "baseline with flip, a (1 pair)"]
    assert table.value("baseline with flip", "PCK@0.1 bbox") == 1
    gained = 1 - table.value("baseline: x", "PCK@0.1 bbox")
    assert gained > 0.5
    assert any(note.startswith(f"with flip - baseline: +{gained:.3f} [") for note in table.notes)
    assert table.notes[-1] == (
        "with flip 2 of 2 pairs matched mirrored; the mirrored sources took 2 denoiser calls beside 4"
    )
    plain = run_pairs("b", model, pairs, Recipe(label="x"), **options)
    assert plain.rows == [row for row in table.rows if "flip" not in row.method]


def test_same_place_scales_to_the_target():
    one = PhotoPair(
        "a", "b", np.array([[10.0, 20.0]]), np.array([[1.0, 1.0]]), (40, 20), (80, 100), (0, 0, 9, 9), "c", "i"
    )
    assert same_place(one).tolist() == [[50, 40]]


def test_rows_are_four_with_the_intervals_of_their_own_counts():
    # Thresholds by hand: image 96 wide, 9.6 pixels; box 48 wide, 4.8 pixels.
    predicted = [p.target_points + [[0, 0], [4.8, 0], [9.6, 0]] for p in PAIRS[:2]]
    predicted[1] = predicted[1] + [100, 0]
    result = score(PAIRS[:2], predicted)
    assert (result.img.tolist(), result.bbox.tolist()) == ([3, 0], [2, 0])
    rows = {row.metric: row for row in result.rows("baseline: x")}
    assert list(rows) == ["PCK@0.1 img", "PCK@0.1 bbox", "PCK@0.1 img per image", "PCK@0.1 bbox per image"]
    assert rows["PCK@0.1 bbox"].value == pytest.approx(1 / 3)
    assert rows["PCK@0.1 img"].ci95 == interval([3, 0], [3, 3]) == (0, 1)


def test_pooled_and_per_image_differ_where_pairs_differ_in_points():
    rows = {r.metric: r.value for r in Scores(np.array([1, 8]), np.array([0, 8]), np.array([2, 8])).rows("m")}
    assert rows == {
        **{"PCK@0.1 img": 0.9, "PCK@0.1 bbox": 0.8, "PCK@0.1 img per image": 0.75, "PCK@0.1 bbox per image": 0.5}
    }


def test_describe_says_how_a_recipe_reads():
    assert describe(Recipe(timestep=9, taps=("up1",), prompt="a cat")) == "t=9 up1 'a cat'"
    assert describe(Recipe(label="mine")) == "mine"


def test_bench_pairs_from_a_folder_to_the_table_with_a_twin(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    images = {}
    for name, (w, h) in {"a": (70, 50), "b": (50, 70), "c": (64, 64)}.items():
        Image.fromarray(rng.integers(0, 255, (h, w, 3), dtype=np.uint8)).save(tmp_path / "images" / f"{name}.png")
        points = (rng.random((4, 2)) * [w - 1, h - 1]).round(1).tolist()
        images[name] = {"file": f"images/{name}.png", "cls": "x", "width": w, "height": h, "keypoints": points}
    notes = {"images": images, "pairs": [["a", "b"], ["b", "c"], ["a", "a"]]}
    (tmp_path / "annotations.json").write_text(json.dumps(notes))
    table = folder.run(load("twin:sd15", size=64), tmp_path, Recipe(timestep=1, taps=("up2",)), progress=False)
    assert [row.method for row in table.rows[::4]] == [TRIVIAL, UNTRAINED, "baseline: t=1 up2"]
    assert len(table.rows) == 12
    assert all(0 <= row.ci95[0] <= row.value <= row.ci95[1] <= 1 for row in table.rows)
    assert table.model == "twin:sd15"
    # Even random weights find the points of a photo in itself; "same place" always does.
    itself = {**notes, "pairs": [["a", "a"], ["b", "b"]]}
    (tmp_path / "annotations.json").write_text(json.dumps(itself))
    table = folder.run(
        load("twin:sd15", size=64), tmp_path, Recipe(timestep=1, taps=("up2",)), controls=False, progress=False
    )
    assert table.value("trivial", "PCK@0.1 img") == 1
    assert table.value("baseline", "PCK@0.1 img") > 0.8


def test_a_prompt_with_category_reads_each_pair_with_its_own(monkeypatch):
    requested: dict[str, list[str]] = {}

    def reader(model, recipes, batch, report):
        def read(photos):
            requested.setdefault(recipes[0].prompt, []).extend(photos)
            return Reader()(photos)

        return read

    monkeypatch.setattr("shiftless.bench.pairs.reader", reader)
    pairs = [replace(p, category=kind) for p, kind in zip(PAIRS, ["cat", "dog", "cat", "cow"])]
    together = by_prompt(None, pairs, Recipe(prompt="a {category}"), 4)
    assert requested == {"a cat": ["s0", "s1", "s2"], "a dog": ["s1", "s2"], "a cow": ["s2"]}
    requested.clear()
    plain = by_prompt(None, pairs, Recipe(prompt="a thing"), 4)
    assert list(requested) == ["a thing"]
    assert together.img.tolist() == plain.img.tolist()
    assert together.totals.tolist() == [3, 3, 3, 3]


def test_pairs_that_share_photos_get_wider_intervals_and_the_table_says_so(monkeypatch):
    """Photo "s0" is hard and in half of the pairs: what it does to them is one observation, not five."""
    names = [("s0", f"s{i}") for i in range(1, 6)] + [(f"s{i}", f"s{i + 5}") for i in range(6, 11)]
    pairs = [pair(a, b, POINTS) for a, b in names]
    hard = np.array([0] * 5 + [3] * 5)
    shared = Scores(hard, hard, np.full(10, 3), photos=photos_of(pairs))
    apart = Scores(hard, hard, np.full(10, 3))
    assert np.ptp(shared.interval()) > 1.3 * np.ptp(apart.interval())
    assert {row.ci95 for row in shared.rows("m")} != {row.ci95 for row in apart.rows("m")}
    assert np.ptp(shared.gain(Scores(hard // 3, hard // 3, apart.totals))[1:]) > np.ptp(apart.interval()) / 2
    assert "16 photos" in shared.resampling()
    monkeypatch.setattr("shiftless.bench.pairs.reader", lambda *_: Reader())
    model = SimpleNamespace(spec=Spec("fake", "sd", 64, 64, (4, 8)))
    table = run_pairs("b", model, PAIRS, Recipe(), controls=False, progress=False)
    assert table.notes[0] == (
        "4 pairs, 12 points; 95% intervals clustered by photo (3 photos, shared by pairs; dyadic cluster-robust)"
    )
    table = run_pairs("b", model, PAIRS[:1], Recipe(), controls=False, progress=False)
    assert "95% bootstrap intervals over pairs, no photo in two of them" in table.notes[0]


@pytest.mark.parametrize(("prompt", "photos", "flip"), [("", 3, False), ("a {category}", 4, False), ("", 3, True)])
def test_a_bench_foresees_its_denoiser_calls_and_makes_them(capsys, monkeypatch, prompt, photos, flip):
    from shiftless import progress

    done = []
    monkeypatch.setattr(progress.Progress, "__exit__", lambda step, *_: done.append((step.done, step.total)))
    drawn = {n: np.random.default_rng(i).integers(0, 255, (64, 64, 3), dtype=np.uint8) for i, n in enumerate("abc")}
    opened = {name: open_photo(pixels, name=name) for name, pixels in drawn.items()}
    at = np.array([[20.0, 20.0], [40.0, 30.0]])
    pairs = [
        PhotoPair(opened[a], opened[b], at, at, (64, 64), (64, 64), (8, 8, 56, 56), kind, a + b)
        for a, b, kind in (("a", "b", "cat"), ("b", "c", "dog"))
    ]
    run_pairs("pairs", load("twin:sd15", size=64), pairs, Recipe(prompt=prompt, start=60, steps=2), batch=2, flip=flip)
    total = photos * 3 * 2  # a walk of two steps and the reading, by the model and by the untrained one
    total += 2 * 3 * flip  # both sources mirrored, by the model
    message = f"pairs: 2 pairs with twin:sd15, also untrained: {total} denoiser calls\n"
    assert capsys.readouterr().err.startswith(message)  # progress follows where the machine is slow
    assert done == [(total, total)]


def test_a_copy_of_a_photo_is_the_same_photo_to_the_intervals(tmp_path):
    for name in "abcd":
        (tmp_path / name).write_bytes(b"one" if name in "ad" else name.encode())
    files = [str(tmp_path / name) for name in "abcd"]
    (a, b), (c, d) = photos_of([pair(files[0], files[1], POINTS), pair(files[2], files[3], POINTS)])
    assert a == d
    assert len({a, b, c}) == 3
