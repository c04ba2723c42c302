"""The page says the scores it was given, shows the least certain photos first, and is whole HTML."""

from __future__ import annotations

import re

import numpy as np
import pytest

from shiftless.errors import BadInput
from shiftless.view.segmentation_page import LeastCertain, SegmentedPhoto, segmentation_page

CLASSES = ("ground", "ear <left>", "mane")
PALETTE = np.array([(90, 90, 90), (200, 0, 0), (0, 0, 200)], np.uint8)
COUNTS = np.array([[90, 10, 0], [20, 30, 0], [0, 0, 0]])
IOUS = np.array([0.75, 0.5, np.nan])


def photo(name: str, doubt: float, side: int = 8) -> SegmentedPhoto:
    mask = np.arange(side * side, dtype=np.uint8).reshape(side, side) % 2
    return SegmentedPhoto(name, np.full((side, side, 3), 99, np.uint8), mask, np.full((side, side), doubt), mask)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    photos = [photo("sure.jpg", 0.01), photo("unsure.jpg", 0.4)]
    scores = [("mIoU", 0.625), ("pixel accuracy", 0.8)]
    given = {"ious": IOUS, "counts": COUNTS, "areas": COUNTS.sum(0), "commands": [("shiftless show", "why")]}
    segmentation_page(out, photos, CLASSES, PALETTE, total=1200, scores=scores, sheets=1, **given)
    return out


def test_the_page_is_whole_and_every_picture_is_there(page, texts_of):
    html = (page / "index.html").read_text(encoding="utf-8")
    assert "ear <left>" in texts_of(html)
    named = set(re.findall(r'(?:src|srcset)="([^"]+)"', html))
    assert named == {path.name for path in page.iterdir()} - {"index.html"}
    assert len(named) == 6  # confusion, thumbnails and one sheet, light and dark


def test_the_scores_stand_where_they_belong(page, texts_of):
    html = (page / "index.html").read_text(encoding="utf-8")
    texts = texts_of(html)
    assert "1,200 photos, 3 classes, mIoU 62.5%, pixel accuracy 80.0%." in texts
    assert "<th>ground</th><td>75.0%</td><td>90.0%</td><td>81.8%</td><td>66.7%</td>" in html
    assert '<i class="main" style="left:0.0%;width:75.0%"></i></td><td>75.0%</td>' in html
    assert '<i class="rest" style="left:0.0%;width:50.0%"></i></td><td>50.0%</td>' in html
    assert "nan" not in html
    assert "Not scored, or neither labelled nor predicted: mane." in texts


def test_mistakes_are_told_by_the_pixels_they_cost(page, texts_of):
    texts = texts_of((page / "index.html").read_text(encoding="utf-8"))
    first = texts.index("40.0% of the pixels labelled ear <left> were taken for ground.")
    assert texts.index("10.0% of the pixels labelled ground were taken for ear <left>.") > first
    assert sum("were taken for" in text for text in texts) == 2


def test_the_least_certain_photo_gets_the_sheet(page, texts_of):
    texts = texts_of((page / "index.html").read_text(encoding="utf-8"))
    assert "unsure.jpg: mean uncertainty 0.4 nats" in texts
    assert not any(text.startswith("sure.jpg: mean") for text in texts)
    assert any(text.startswith("Shown are 2 of 1,200 photos. ") for text in texts)


def test_photos_without_labels_have_a_page_without_scores(tmp_path, texts_of):
    segmentation_page(tmp_path, [photo("a.jpg", 0.1)], CLASSES, PALETTE)
    texts = texts_of((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert not any("IoU" in text or "labelled" in text for text in texts)
    assert "1 photo, 3 classes." in texts


def test_only_so_many_photos_are_kept_and_they_are_small():
    kept = LeastCertain(2)
    for name, doubt in (("b", 0.2), ("c", 0.1), ("a", 0.2), ("d", 0.3)):
        kept.add(photo(name, doubt))
    assert [one.name for one in kept.photos] == ["d", "a"]
    small = photo("a", 0.3, side=64).shrunk(16)
    assert {one.shape[:2] for one in (small.photo, small.mask, small.uncertainty, small.truth)} == {(16, 16)}
    assert small.mean_uncertainty == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"ious": [0.5]}, "ious: shape"), ({"counts": np.eye(2)}, "counts of shape"), ({"areas": [1, 2]}, "areas: shape")],
)
def test_numbers_of_other_classes_are_refused(changes, message, tmp_path):
    with pytest.raises(BadInput, match=message):
        segmentation_page(tmp_path, [], CLASSES, PALETTE, **changes)
    assert list(tmp_path.iterdir()) == []
