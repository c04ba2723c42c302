"""Claims: the keys of what recipes would read of photos, known before reading, and which photos are being read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shiftless.backbones.base import Backbone
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.header import Origin
from shiftless.image import Photo
from shiftless.reading.inputs import frame_of
from shiftless.reading.origin import of_photo, origins_of
from shiftless.reading.words import Fill
from shiftless.recipe import Recipe
from shiftless.store.key import key_of, words_of


class Claims:
    """The keys of a model's readings by recipes: of photos that are to be read, and of what was read.

    dtype  in which maps are saved     pool  how many cells along each side are averaged into one

    >>> import numpy as np
    >>> from shiftless.backbones.registry import load
    >>> from shiftless.image import open_photo
    >>> from shiftless.reading import extract
    >>> model, photo = load("twin:sd15"), open_photo(np.zeros((64, 64, 3), np.uint8), "a.png")
    >>> claims = Claims(model, [Recipe()])
    >>> expected, first, again = claims.keys(photo), claims.take(photo), claims.take(photo)
    >>> claims.read(extract(model, photo, [Recipe()])) == expected, first, again
    (True, True, False)
    """

    def __init__(
        self, model: Backbone, recipes: Sequence[Recipe], fill: Fill | None = None, dtype: str = "fp16", pool: int = 1
    ) -> None:
        if pool < 1:
            raise BadInput(f"pool={pool}: give a whole number from 1 up; 1 saves maps as they are")
        self.model, self.recipes = model, list(recipes)
        self.fill, self.dtype, self.pool = fill, dtype, pool
        self._holds = False
        self._held: list[Origin] | None = None  # by recipe, while the model is taken to stay as it is
        self._words: dict[tuple[str, str], list[str]] = {}  # (name, digest) of photos claimed -> prompts before reading

    def keys(self, photo: Photo) -> list[str]:
        """Return the key of what each recipe would read of a photo.

        Raises BadInput for a photo whose prompt lacks a value, and for an adapter that is missing.
        """
        keys = []
        for origin, recipe, text in zip(self.origins(photo), self.recipes, self._texts(photo)):
            keys.append(key_of(origin, recipe, frame_of(self.model.spec, photo, recipe).fed, text, self.dtype))
        return keys

    def origins(self, photo: Photo) -> list[Origin]:
        """Return what each recipe's maps of a photo would be made from; raises BadInput as `keys` does."""
        return [replace(of_photo(one, photo, self.fill), pool=self.pool) for one in self._origins()]

    def hold(self) -> None:
        """Take the model and its adapters to stay as they are from here on: a photo's keys then cost next to nothing.

        Otherwise each photo's keys look at every tensor of the model, which an accelerator has to wait for. What is
        read of another model all the same is known by its origin, and the model is then looked at anew.
        """
        self._holds, self._held = True, None

    def take(self, photo: Photo) -> bool:
        """Claim a photo for reading; False if it was claimed before."""
        name = photo.name, photo.digest
        if name in self._words:
            return False
        self._words[name] = self._texts(photo)
        return True

    def read(self, bucket: Sequence[FeatureMaps]) -> list[str]:
        """Return the keys of what was read of a claimed photo: by what it was really made from."""
        texts = self._words[bucket[0].name, bucket[0].origin.photo]
        held = self._held
        if held is not None and held[0].fingerprint != bucket[0].origin.fingerprint:
            self._held = None
        return [
            key_of(maps.origin, recipe, maps.frame.fed, text, self.dtype)
            for maps, recipe, text in zip(bucket, self.recipes, texts, strict=True)
        ]

    def release(self, name: str, digest: str) -> None:
        """End the claim of a photo whose features are where they belong."""
        del self._words[name, digest]

    def _origins(self) -> list[Origin]:
        held = self._held
        if held is None:
            held = origins_of(self.model, self.recipes)
            self._held = held if self._holds else None
        return held

    def _texts(self, photo: Photo) -> list[str]:
        return [words_of(recipe, photo, self.fill) for recipe in self.recipes]
