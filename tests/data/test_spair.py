from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from shiftless.data.spair import read_spair
from shiftless.errors import BadInput


def small_spair(root: Path, split: str = "test", colon: str = ":") -> Path:
    """A made copy of the published layout: two categories, a few pairs each, blank pictures."""
    folder = root / "SPair-71k"
    lines = []
    for number, (category, names) in enumerate({"cat": ["c1", "c2", "c3"], "bus": ["b1", "b2", "b3"]}.items()):
        sizes = {name: (40 + 4 * i, 30 - 2 * i) for i, name in enumerate(names)}
        (folder / "JPEGImages" / category).mkdir(parents=True, exist_ok=True)
        for name, size in sizes.items():
            Image.new("RGB", size, (90, 40 * number, 60)).save(folder / "JPEGImages" / category / f"{name}.jpg")
        for source in names:
            for target in names:
                if source == target:
                    continue
                line = f"{len(lines):06d}-{source}-{target}:{category}"
                lines.append(line)
                notes = {
                    "pair_id": len(lines) - 1,
                    "src_imname": f"{source}.jpg",
                    "trg_imname": f"{target}.jpg",
                    "src_imsize": [*sizes[source], 3],
                    "trg_imsize": [*sizes[target], 3],
                    "src_bndbox": [1, 2, 30, 20],
                    "trg_bndbox": [5, 6, 25, 22],
                    "category": category,
                    "src_kps": [[3, 4], [sizes[source][0] - 1, 9]],
                    "trg_kps": [[10, 11], [12, 13]],
                    "kps_ids": ["0", "4"],
                }
                path = folder / "PairAnnotation" / split / f"{line.replace(':', colon)}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(notes))
    listing = folder / "Layout" / "large" / f"{split}.txt"
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("colon", [":", "_"])
def test_reads_the_published_layout(tmp_path, colon):
    folder = small_spair(tmp_path, colon=colon)
    pairs = read_spair(folder)
    assert len(pairs) == 12
    first = pairs[0]
    assert (first.source, first.target) == (folder / "JPEGImages/cat/c1.jpg", folder / "JPEGImages/cat/c2.jpg")
    assert (first.source_size, first.target_size) == ((30, 40), (28, 44))
    assert first.source_points.tolist() == [[3.5, 4.5], [39.5, 9.5]]
    assert first.target_points.tolist() == [[10.5, 11.5], [12.5, 13.5]]
    assert first.target_box == (5.5, 6.5, 25.5, 22.5)  # 20 x 16, as published
    assert (first.category, first.id) == ("cat", "000000-c1-c2:cat")
    assert len(read_spair(tmp_path)) == 12  # the folder above it will do


def test_chooses_categories_and_how_many(tmp_path):
    folder = small_spair(tmp_path, "val")
    assert {p.category for p in read_spair(folder, "val", category="bus")} == {"bus"}
    some = read_spair(folder, "val", per_category=2)
    assert [p.category for p in some] == ["cat", "cat", "bus", "bus"]
    assert some[0].source != some[1].source  # evenly spaced, not the first picture twice


def damaged(folder: Path, **fields: object) -> Path:
    path = sorted((folder / "PairAnnotation" / "test").iterdir())[0]
    notes = json.loads(path.read_text())
    for name, value in fields.items():
        if value is None:
            del notes[name]
        else:
            notes[name] = value
    path.write_text(json.dumps(notes))
    return path


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"trg_bndbox": None}, "no 'trg_bndbox'"),
        ({"src_kps": [[1, 2]]}, "1 src_kps and 2 trg_kps"),
        ({"src_kps": [[1, 2], [900, 3]]}, "lies outside"),
        ({"src_imname": "none.jpg"}, "none.jpg"),
        ({"trg_imsize": "big"}, "trg_imsize"),
        ({"trg_bndbox": [5, 5, 5, 9]}, "trg_bndbox"),
    ],
)
def test_a_bad_annotation_names_its_file(tmp_path, fields, says):
    path = damaged(small_spair(tmp_path), **fields)
    with pytest.raises(BadInput, match=says) as caught:
        read_spair(tmp_path / "SPair-71k")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_spair(tmp_path):
    with pytest.raises(BadInput, match="no such folder"):
        read_spair(tmp_path / "none")
    with pytest.raises(BadInput, match=r"Layout/large/test.txt: cannot be read"):
        read_spair(tmp_path)
    folder = small_spair(tmp_path)
    with pytest.raises(BadInput, match="trn, val, test"):
        read_spair(folder, "train")
    with pytest.raises(BadInput, match="it has bus, cat"):
        read_spair(folder, category="horse")
    next((folder / "PairAnnotation" / "test").iterdir()).unlink()
    with pytest.raises(BadInput, match="no such file"):
        read_spair(folder)
