"""FeatureStore: the features in a Zarr store, by photo."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shiftless.errors import BadInput
from shiftless.features import Bucket, FeatureMaps
from shiftless.header import Origin
from shiftless.image import open_photo
from shiftless.reading.extraction import Dtype, choose_output
from shiftless.recipe import Recipe
from shiftless.store.contents import Maps, rows_in_file
from shiftless.store.manifest import Manifest, Published
from shiftless.store.place import Place, place_of
from shiftless.store.row import ROWS, Row
from shiftless.store.shard import Damaged

Where = tuple[int, int]  # the number of a group, and of a row in it


class FeatureStore:
    """The features that `shiftless extract --out NAME.zarr` wrote, one item a photo, in the order of the photos' names.

    target   a path or an fsspec URL that ends in .zarr
    recipes  which readings: one Recipe gives FeatureMaps, a list of K gives Buckets in that order, as in `extract`.
             Without it the store must hold readings by one recipe
    groups   names of the groups to look in; all of them by default
    dtype    of the maps that come out: "fp32", "fp16", "bf16", a torch dtype, or None for what the store holds
    options  what fsspec's file system takes

    `store[photo]` takes the photo's file as it was given to extract, the digest of its pixels, a number, or the
    photo itself (a path, an image): content decides. What it shows is what was published when it was opened. A photo
    read twice by one recipe with different prompts is given as it was read last. Every map is checked against its
    checksum. Nothing is kept open, so that a DataLoader may have any number of workers.

    `recipes` are those that the photos were read by, one for each reading.

    Raises BadInput for a store that is not there or damaged, that holds features of several models or adapter
    contents, several readings of a photo where none was chosen, or not the chosen ones of every photo.

    >>> import shiftless, tempfile
    >>> from shiftless.store.writer import StoreWriter
    >>> model, recipe, picture = shiftless.load("twin:sd15"), Recipe(taps=("up1",)), np.zeros((64, 96, 3), np.uint8)
    >>> folder = tempfile.TemporaryDirectory()
    >>> with StoreWriter(f"{folder.name}/a.zarr", model, [recipe]) as writer:
    ...     if writer.claim(photo := open_photo(picture, "a.png")):
    ...         writer.write(shiftless.extract(model, photo, [recipe]))
    >>> store = FeatureStore(f"{folder.name}/a.zarr")
    >>> store["a.png"]["up1"].shape, store[picture].name, len(store)
    (torch.Size([1, 64, 4, 8]), 'a.png', 1)
    >>> folder.cleanup()
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        recipes: Recipe | Sequence[Recipe] | None = None,
        *,
        groups: Sequence[str] | None = None,
        dtype: Dtype = "fp32",
        options: dict[str, Any] | None = None,
    ) -> None:
        self._place = place_of(target, options)
        self._dtype = choose_output(dtype)
        self._several = recipes is not None and not isinstance(recipes, Recipe)
        chosen = [recipes] if isinstance(recipes, Recipe) else list(recipes or [])
        if self._several and not chosen:
            raise BadInput("no recipe was given; give at least one Recipe, or None")
        self.name = self._place.name
        self._groups = _named(self._place, groups)
        self._tables = [_Table(self._place, one) for one in self._groups]
        self._items = self._chosen(chosen)
        self._by_name: dict[str, list[int]] = {}
        self._by_digest: dict[str, int] = {}
        for i, readings in enumerate(self._items):
            name, digest = self._named(readings)
            self._by_name.setdefault(name, []).append(i)
            self._by_digest[digest] = i
        self._maps_of = [Maps(self._place, one) for one in self._groups]

    @property
    def origins(self) -> list[Origin]:
        """What the readings were made from, without the photo: one for each group that photos lie in."""
        used = dict.fromkeys(number for readings in self._items for number, _ in readings)
        return [self._groups[number].group.origin for number in used]

    @property
    def photos(self) -> list[str]:
        """The photos' files, as they were given to extract, in order."""
        return [self._named(readings)[0] for readings in self._items]

    @property
    def digests(self) -> list[str]:
        """The digests of the photos' pixels, in order."""
        return [self._named(readings)[1] for readings in self._items]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"FeatureStore({self.name}, {len(self)} photos, {', '.join(one.name for one in self._groups)})"

    def __getitem__(self, photo: Any) -> Any:
        """Return the FeatureMaps of a photo, or a Bucket where recipes were given as a list.

        Raises BadInput for a photo that is not there and a map that is damaged, and IndexError for a number too large.
        """
        readings = tuple(self._maps(*where) for where in self._items[self._number(photo)])
        return Bucket(readings) if self._several else readings[0]

    def _number(self, photo: Any) -> int:
        if isinstance(photo, (int, np.integer)):
            number = int(photo)
            if not -len(self) <= number < len(self):
                raise IndexError(f"{self.name} holds {len(self)} photos, and none of number {number}")
            return number
        text = os.fspath(photo) if isinstance(photo, (str, os.PathLike)) else None
        if isinstance(text, str):
            found = self._by_name.get(text, [])
            if len(found) == 1:
                return found[0]
            if text in self._by_digest:
                return self._by_digest[text]
            if not Path(text).is_file():
                raise BadInput(f"{self.name}: {self._why_not(text, found)}")
        digest = open_photo(photo).digest
        if digest not in self._by_digest:
            raise BadInput(f"{self.name}: no photo has the content of {text or 'this image'}; extract it first")
        return self._by_digest[digest]

    def _why_not(self, name: str, found: list[int]) -> str:
        if found:
            digests = ", ".join(self._named(self._items[i])[1] for i in found)
            return f"{len(found)} photos were called {name}; give the digest of one ({digests})"
        near = [one for one in self._by_name if Path(one).name == Path(name).name][:3]
        return f"no photo {name}" + (f"; there is {', '.join(near)}" if near else "; .photos lists those there are")

    def _maps(self, number: int, row: int) -> FeatureMaps:
        group, about = self._groups[number].group, self._tables[number].row(row)
        values = {}
        for tap, known in enumerate(group.taps):
            try:
                array = self._maps_of[number].array(tap, row, about.checksums[tap])
            except Damaged as error:
                raise BadInput(
                    f"{self.name}: {known.name} of {about.photo} is damaged ({error}); "
                    f"find all that is: shiftless store verify {self.name}"
                ) from None
            value = torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))[None]  # a copy, which may be written
            values[known.name] = value if self._dtype is None else value.to(self._dtype)
        return group.maps(about, values)

    def _named(self, readings: Sequence[Where]) -> tuple[str, str]:
        number, row = readings[0]
        table = self._tables[number]
        return table.photos[row], table.digests[row]

    def _chosen(self, recipes: list[Recipe]) -> list[tuple[Where, ...]]:
        """Where the readings of each photo are, photos in the order of their names, readings in that of the recipes."""
        by_key: dict[str, list[int]] = {}
        for number, one in enumerate(self._groups):
            first = self._groups[0]
            if conflict := first.group.origin.conflict(one.group.origin):
                raise BadInput(f"{self.name}: {first.name} and {one.name} hold features of {conflict}; choose groups=")
            by_key.setdefault(one.group.recipe.key(), []).append(number)
        if not recipes:
            recipes = [self._groups[numbers[0]].group.recipe for numbers in by_key.values()]
            if len(recipes) > 1:
                names = ", ".join(recipe.label or recipe.key() for recipe in recipes)
                raise BadInput(f"{self.name}: holds {len(recipes)} readings ({names}); choose with recipes= or groups=")
        if not recipes:
            raise BadInput(f"{self.name}: holds no photos yet; write some with shiftless extract")
        columns = [self._by_photo(by_key.get(recipe.key(), [])) for recipe in recipes]
        digests = list(dict.fromkeys(digest for column in columns for digest in column))
        for digest in digests:
            for recipe, column in zip(recipes, columns):
                if digest not in column:
                    name = self._named([next(other[digest] for other in columns if digest in other)])[0]
                    raise BadInput(
                        f"{self.name}: no reading of {name} by {_label(recipe)}; extract it, or leave it out"
                    )
        if not digests:
            held = ", ".join(_label(self._groups[numbers[0]].group.recipe) for numbers in by_key.values())
            raise BadInput(f"{self.name}: no photo was read by {_label(recipes[0])}; it holds {held or 'nothing yet'}")
        self.recipes = tuple(recipes)
        items = [tuple(column[digest] for column in columns) for digest in digests]
        return sorted(items, key=self._named)

    def _by_photo(self, numbers: Sequence[int]) -> dict[str, Where]:
        """Where each photo's reading by one recipe is; in one group the last one counts."""
        found: dict[str, Where] = {}
        for number in numbers:
            table = self._tables[number]
            for row, (digest, key) in enumerate(zip(table.digests, table.keys)):
                if not key:  # taken out
                    continue
                other = found.get(digest, (number, 0))[0]
                if other != number:
                    names = f"{self._groups[other].name} and {self._groups[number].name}"
                    raise BadInput(f"{self.name}: {names} both hold {table.photos[row]}; choose one with groups=")
                found[digest] = (number, row)
        return found


class _Table:
    """The rows of a group, in the memory of about 200 bytes each."""

    def __init__(self, place: Place, one: Published) -> None:
        self.photos: list[str] = []
        self.digests: list[str] = []
        self.keys: list[str] = []
        self._rest: list[tuple[str, tuple[str, ...]]] = []  # prompt and words
        numbers: list[np.ndarray] = []
        same: dict[tuple[str, tuple[str, ...]], tuple[str, tuple[str, ...]]] = {}
        for number in range(-(-one.rows // ROWS)):
            try:
                rows = rows_in_file(place, one, number)
            except Damaged as error:
                raise BadInput(
                    f"{place.name}: {one.name}: {error}; repair it: shiftless store repair {place.name}"
                ) from None
            for row in rows:
                self.photos.append(row.photo)
                self.digests.append(row.digest)
                self.keys.append(row.key)
                rest = (row.prompt, row.words)
                self._rest.append(same.setdefault(rest, rest))
            numbers.append(np.array([(*row.size, *row.checksums) for row in rows], np.uint32))
        self._numbers = np.concatenate(numbers) if numbers else np.zeros((0, 2), np.uint32)

    def row(self, number: int) -> Row:
        prompt, words = self._rest[number]
        h, w, *checksums = self._numbers[number].tolist()
        key, photo, digest = self.keys[number], self.photos[number], self.digests[number]
        return Row(key, photo, digest, (h, w), prompt, words, tuple(checksums))


def _named(place: Place, names: Sequence[str] | None) -> list[Published]:
    """The groups of a store that are named."""
    groups = list(Manifest.opened(place).groups.values())
    if names is None:
        return groups
    known = {one.name: one for one in groups}
    if missing := [name for name in names if name not in known]:
        raise BadInput(f"{place.name}: no group {missing[0]!r}; it has {', '.join(known)}")
    return [replace(known[name]) for name in names]


def _label(recipe: Recipe) -> str:
    return recipe.label or recipe.to_toml().replace("\n", ", ") or "the default recipe"
