"""FeatureFolder: where `shiftless extract` writes, and which features it already holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from shiftless.backbones.base import Backbone
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.header import SAVED
from shiftless.image import Photo
from shiftless.reading.words import Fill
from shiftless.recipe import Recipe
from shiftless.store.claims import Claims
from shiftless.store.index import Index
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
        self._claims = Claims(model, recipes, fill, dtype, pool)
        self.path, self.model, self.recipes = Path(path), model, list(recipes)
        self.dtype, self.pool = dtype, pool
        self.index = Index(self.path)
        self.files: dict[str, list[Path]] = {}  # photo -> its files, for every photo queried
        self.widened = 0  # maps that were saved in fp32 because they hold values beyond the range of dtype

    def recover(self) -> list[str]:
        """Bring the index up to date with the folder; return a line for each file that is left out of it."""
        return [f"left out of the index: {line}" for line in self.index.repair()]

    def claim(self, photo: Photo) -> bool:
        """Whether a photo must still be read: some file of it is not there, and it has not been claimed before.

        Raises BadInput for a photo whose prompt lacks a value, and for an adapter that is missing.
        """
        files = [self._file(photo.name, key) for key in self._claims.keys(photo)]
        self.files[photo.name] = files
        if all(file.exists() for file in files) or not self._claims.take(photo):
            return False
        if all(file.exists() for file in files):  # another thread has ended its claim meanwhile
            self._claims.release(photo.name, photo.digest)
            return False
        return True

    def holds(self, photo: Photo) -> bool:
        """Whether every reading of a photo is there; nothing is claimed."""
        return all(self._file(photo.name, key).exists() for key in self._claims.keys(photo))

    def hold(self) -> None:
        """Take the model and its adapters to stay as they are from here on, which makes claims fast."""
        self._claims.hold()

    def write(self, bucket: Sequence[FeatureMaps]) -> list[Path]:
        """Write a claimed photo's features, one file a recipe, then their lines in the index; return the files.

        Their names say what they were really made from. Raises BadInput if the folder cannot be written.
        """
        small = [pooled(maps, self.pool) for maps in bucket]
        name = small[0].name
        files = [self._file(name, key) for key in self._claims.read(small)]
        for maps, file in zip(small, files):
            maps.save(file, dtype=self.dtype)
        self.files[name] = files
        rows = self.index.add(files)
        self._claims.release(name, small[0].origin.photo)
        for row in rows:
            self.widened += sum(map_["dtype"] != self.dtype for map_ in row["taps"].values())
        return files

    def bytes_there(self, photos: set[str]) -> int:
        """Return how many bytes of these photos' features, by this model and these recipes, the index names."""
        recipes, made = {recipe.key() for recipe in self.recipes}, (self.model.fingerprint, self.pool)
        return sum(
            int(row.get("bytes", 0))
            for row in self.index.rows()
            if row["photo"] in photos
            and row.get("recipe") in recipes
            and (row.get("fingerprint"), row.get("pool")) == made
        )

    def _file(self, name: str, key: str) -> Path:
        stem = re.sub(r"[^\w.+=@-]+", "_", Path(name).stem)[:_STEM]
        return self.path / f"{stem}-{key}.safetensors"

    def __enter__(self) -> FeatureFolder:
        return self

    def __exit__(self, *raised: object) -> None:
        """Do nothing: each photo is whole once it is written."""
