"""FeatureFolder: where `shiftless extract` writes, and which features it already holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from shiftless.backbones.base import Backbone
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.header import SAVED, Origin
from shiftless.image import Photo
from shiftless.reading.loop import frame_of
from shiftless.reading.origin import of_photo, origin_of
from shiftless.reading.words import Fill
from shiftless.recipe import Recipe
from shiftless.store.index import Index
from shiftless.store.key import key_of, words_of
from shiftless.store.pool import pooled

_STEM = 40  # characters of a photo's name that its files begin with, for readability; the key identifies them


class FeatureFolder:
    """A folder of features: for each photo one file a recipe, and an index of them all.

    dtype  in which maps are saved: "fp16", "fp32" or "bf16" (which NumPy does not read)
    pool   how many cells along each side are averaged into one before saving

    A file is named by the photo's name and by a key of everything that its features depend on: the photo's pixels, the
    contents of model and adapters, the recipe, the prompt, dtype and pool. What is there already under its key need
    not be read again, and nothing else is ever taken for it. Nothing is written before `write`.

    Raises BadInput for another dtype and a pool below 1.

    >>> import tempfile, numpy as np
    >>> from shiftless.backbones.registry import load
    >>> from shiftless.image import open_photo
    >>> from shiftless.reading import extract
    >>> model, recipes, photo = load("twin:sd15"), [Recipe()], open_photo(np.zeros((64, 64, 3), np.uint8), "a.png")
    >>> with tempfile.TemporaryDirectory() as place:
    ...     folder = FeatureFolder(place, model, recipes)
    ...     folder.claim(photo), folder.write(extract(model, photo, recipes))[0].name[:2], folder.claim(photo)
    (True, 'a-', False)
    """

    def __init__(
        self,
        path: str | Path,
        model: Backbone,
        recipes: Sequence[Recipe],
        *,
        fill: Fill | None = None,
        dtype: str = "fp16",
        pool: int = 1,
    ) -> None:
        if dtype not in SAVED:
            raise BadInput(f"save-dtype {dtype!r}: must be one of {', '.join(SAVED)}")
        if pool < 1:
            raise BadInput(f"pool={pool}: give a whole number from 1 up; 1 saves maps as they are")
        self.path, self.model, self.recipes = Path(path), model, list(recipes)
        self.fill, self.dtype, self.pool = fill, dtype, pool
        self.index = Index(self.path)
        self.files: dict[str, list[Path]] = {}  # photo -> its files, for every photo queried
        self.widened = 0  # maps that were saved in fp32 because they hold values beyond the range of dtype
        self._words: dict[tuple[str, str], list[str]] = {}  # (name, digest) of photos claimed -> prompts before reading

    def claim(self, photo: Photo) -> bool:
        """Whether a photo must still be read: some file of it is not there, and it has not been claimed before.

        Raises BadInput for a photo whose prompt lacks a value, and for an adapter that is missing.
        """
        words = [words_of(recipe, photo, self.fill) for recipe in self.recipes]
        files = []
        for recipe, text in zip(self.recipes, words):
            origin = replace(of_photo(origin_of(self.model, recipe), photo, self.fill), pool=self.pool)
            files.append(self._file(photo.name, origin, recipe, frame_of(self.model, photo, recipe).fed, text))
        self.files[photo.name] = files
        claimed = (photo.name, photo.digest) in self._words
        if claimed or all(file.exists() for file in files):
            return False
        self._words[photo.name, photo.digest] = words
        return True

    def write(self, bucket: Sequence[FeatureMaps]) -> list[Path]:
        """Write a claimed photo's features, one file a recipe, then their lines in the index; return the files.

        Their names say what they were really made from. Raises BadInput if the folder cannot be written.
        """
        name, digest = bucket[0].name, bucket[0].origin.photo
        files = []
        for maps, recipe, text in zip(bucket, self.recipes, self._words.pop((name, digest)), strict=True):
            small = pooled(maps, self.pool)
            files.append(self._file(name, small.origin, recipe, small.frame.fed, text))
            small.save(files[-1], dtype=self.dtype)
        self.files[name] = files
        for row in self.index.add(files):
            self.widened += sum(map_["dtype"] != self.dtype for map_ in row["taps"].values())
        return files

    def _file(self, name: str, origin: Origin, recipe: Recipe, fed: tuple[int, int], words: str) -> Path:
        stem = re.sub(r"[^\w.+=@-]+", "_", Path(name).stem)[:_STEM]
        return self.path / f"{stem}-{key_of(origin, recipe, fed, words, self.dtype)}.safetensors"
