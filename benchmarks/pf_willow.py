"""PF-WILLOW (Ham et al., "Proposal flow", 2016) as a folder of pairs that `shiftless bench pairs` reads.

    python benchmarks/pf_willow.py PF-dataset-WILLOW OUT
    shiftless bench pairs --data OUT --model sd15

PF-dataset-WILLOW is unpacked as published: a folder for each of ten classes, and in it pictures (NAME.png) with their
keypoints (NAME.mat: `pts_coord`, whose first rows are x and y of ten points). The 900 pairs are all ordered pairs
within a class. Points keep their published coordinates, which count pixels from 0, as other codes take them; the box of
a picture is that of its keypoints, as PF-WILLOW's PCK has it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from shiftless.atomic import write_atomic
from shiftless.errors import BadInput
from shiftless.image import open_photo

ENDINGS = (".png", ".jpg", ".jpeg")


def keypoints(path: Path) -> list[list[float]]:
    """Return the N points (x, y) of a NAME.mat; raises BadInput naming the file if there are none."""
    try:
        points = np.asarray(loadmat(path, variable_names=["pts_coord"])["pts_coord"], np.float64)[:2].T
    except Exception as error:  # a damaged file makes scipy raise nearly anything
        raise BadInput(f"{path}: no keypoints in it ({error}); give PF-WILLOW as published") from None
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise BadInput(f"{path}: 'pts_coord' must hold x and y of at least one point")
    return [[float(x), float(y)] for x, y in points]


def annotations(folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return what annotations.json says, and where each picture of it lies: its name there -> its path.

    Raises BadInput if the folder is not PF-WILLOW's.
    """
    images: dict[str, Any] = {}
    pairs: list[list[str]] = []
    files: dict[str, Path] = {}
    for place in sorted(path for path in folder.glob("*") if path.is_dir()):
        names = []
        for picture in sorted(path for path in place.iterdir() if path.suffix.lower() in ENDINGS):
            notes = picture.with_suffix(".mat")
            if not notes.is_file():
                raise BadInput(f"{picture}: there is no {notes.name} beside it; give PF-WILLOW as published")
            points, (height, width) = keypoints(notes), open_photo(picture).hw
            low, high = np.min(points, axis=0), np.max(points, axis=0)
            name, file = f"{place.name}/{picture.stem}", f"images/{place.name}/{picture.name}"
            images[name] = {
                "file": file, "cls": place.name, "width": width, "height": height, "keypoints": points,
                "bbox": [*low.tolist(), *high.tolist()],
            }  # fmt: skip
            names.append(name)
            files[file] = picture
        pairs += [list(two) for two in permutations(names, 2)]
    if not pairs:
        raise BadInput(f"{folder}: no class with two pictures; give PF-WILLOW as published (CLASS/NAME.png, NAME.mat)")
    return {"source": "PF-WILLOW", "images": images, "pairs": pairs}, files


def convert(folder: Path, out: Path) -> int:
    """Write the folder of pairs and return how many pairs it has; the annotations come last, when all pictures lie."""
    notes, files = annotations(folder)
    for name, picture in files.items():
        place = out / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, place)
    write_atomic(out / "annotations.json", json.dumps(notes, indent=1).encode())
    return len(notes["pairs"])


def main(arguments: list[str] | None = None) -> int:
    """Convert a folder; the exit code is 2 for bad input, with one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="PF-WILLOW as published")
    parser.add_argument("out", type=Path, help="the folder of pairs to write")
    given = parser.parse_args(arguments)
    try:
        count = convert(given.folder, given.out)
    except BadInput as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{count} pairs: shiftless bench pairs --data {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
