from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shiftless.data.pairs import read_pairs
from shiftless.data.photopair import PhotoPair, spread
from shiftless.errors import BadInput

TOM = {
    "file": "images/tom.png",
    "cls": "cat",
    "width": 30,
    "height": 20,
    "keypoints": [[0, 0], None, [29, 19], [4.25, 9]],
}
KIT = {
    **{"file": "images/kit.png", "cls": "cat", "width": 16, "height": 40},
    **{"keypoints": [[3, 3], [4, 4], [15.75, 30], [5, 12]], "bbox": [1, 2, 11, 34]},
}
NOTES = {"images": {"tom": TOM, "kit": KIT}, "pairs": [["tom", "kit"], ["kit", "tom"]]}


def write(folder: Path, notes: object) -> Path:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20)).save(folder / "images" / "tom.png")
    Image.new("RGB", (16, 40)).save(folder / "images" / "kit.png")
    (folder / "annotations.json").write_text(notes if isinstance(notes, str) else json.dumps(notes))
    return folder


def test_reads_pixel_names_as_centres_and_leaves_out_what_is_not_seen_in_both(tmp_path):
    first, back = read_pairs(write(tmp_path, NOTES))
    assert first.source_points.tolist() == [[0.5, 0.5], [29.5, 19.5], [4.75, 9.5]]
    assert first.target_points.tolist() == [[3.5, 3.5], [16, 30.5], [5.5, 12.5]]  # held inside the 16 pixels
    assert (first.source_size, first.target_size) == ((20, 30), (40, 16))
    assert first.target_box == (1.5, 2.5, 11.5, 34.5)
    assert first.category == "cat"
    assert first.source == tmp_path / "images" / "tom.png"
    assert back.target_box == (0.5, 0.5, 29.5, 19.5)  # no bbox given: the keypoints' bounds
    assert "tom" in back.id


def test_centres_can_be_given_as_such(tmp_path):
    first, _ = read_pairs(write(tmp_path, {**NOTES, "pixel_centres": 0.5}))
    assert first.source_points[0].tolist() == [0, 0]
    assert first.target_box == (1, 2, 11, 34)


def changed(path: str, value: object) -> dict:
    notes = copy.deepcopy(NOTES)
    *heads, last = path.split("/")
    place = notes
    for head in heads:
        place = place[head]
    if value is KeyError:
        del place[last]
    else:
        place[last] = value
    return notes


@pytest.mark.parametrize(
    ("notes", "says"),
    [
        ("{", "not valid JSON"),
        ("[]", "one JSON object"),
        (changed("images", KeyError), "no 'images'"),
        (changed("pairs", []), "at least one"),
        (changed("pairs", [["tom"]]), "pair 0"),
        (changed("pairs", [["tom", "jim"]]), "'jim'"),
        (changed("images/tom/file", "images/none.png"), "none.png"),
        (changed("images/tom/width", KeyError), "no 'width'"),
        (changed("images/tom/width", "30"), "'width'"),
        (changed("images/tom/keypoints", [[0, 0], [1, 1]]), "2 keypoints and 'kit' 4"),
        (changed("images/tom/keypoints", [[0, 0], None, [30.5, 19], [1, 1]]), r"\(30.5, 19\) lies outside the 30x20"),
        (changed("images/tom/keypoints", [[0, 0], None, [float("nan"), 19], [1, 1]]), "not finite"),
        (changed("images/tom/keypoints", [[0, 0], [1, 1], [2], [1, 1]]), "keypoint 2"),
        (changed("images/tom/keypoints", [[0, 0], [1, 1], ["a", "b"], [1, 1]]), "numbers"),
        (changed("images/tom/keypoints", []), "at least one"),
        (changed("images/tom/keypoints", [None, [1, 1], None, None]), "bbox"),
        (changed("images/kit/keypoints", [None, [1, 1], None, None]), "seen in both"),
        (changed("images/kit/bbox", [1, 2, 1, 34]), "box"),
        (changed("images/kit/bbox", [1, 2, 34]), "four numbers"),
        (changed("images/tom", 7), "no 'file'"),
        ({**NOTES, "pixel_centres": 1}, "pixel_centres"),
    ],
)
def test_bad_annotations_are_one_clear_line_that_names_the_file(tmp_path, notes, says):
    with pytest.raises(BadInput, match=says) as caught:
        read_pairs(write(tmp_path, notes))
    assert str(tmp_path / "annotations.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_folder_and_missing_file(tmp_path):
    with pytest.raises(BadInput, match="no such folder"):
        read_pairs(tmp_path / "none")
    with pytest.raises(BadInput, match=r"annotations.json: no such file"):
        read_pairs(tmp_path)


def test_spread_shares_out_over_categories_evenly():
    one = np.ones((1, 2))
    kinds = ["cat"] * 9 + ["dog"] * 2 + ["cow"] * 9
    pairs = [PhotoPair("a", "b", one, one, (8, 8), (8, 8), (0, 0, 1, 1), k, str(i)) for i, k in enumerate(kinds)]
    few = [int(p.id) for p in spread(pairs, 8)]
    assert few == [0, 3, 6, 9, 10, 11, 14, 17]
    assert spread(pairs, None) == spread(pairs, 99) == pairs
    with pytest.raises(BadInput):
        spread(pairs, 0)
