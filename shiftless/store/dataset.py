"""FeatureDataset: the features in a folder or store, for a torch DataLoader."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset

from shiftless.errors import BadInput
from shiftless.features import Bucket, FeatureMaps
from shiftless.header import Origin, from_header
from shiftless.image import Frame
from shiftless.reading.extraction import Dtype, choose_output
from shiftless.recipe import Recipe
from shiftless.store.featurestore import FeatureStore
from shiftless.store.place import is_store


class FeatureBatch(NamedTuple):
    """Features of B photos, stacked.

    maps    tap -> B C H W, or K B C H W for buckets of K readings: what an amalgamator takes
    names   of the photos
    frames  the way between each photo's pixels and the image as the model saw it
    """

    maps: dict[str, torch.Tensor]
    names: list[str]
    frames: list[Frame]


class FeatureDataset(Dataset[Any]):
    """The features that `shiftless extract` wrote, one item a photo, in the order of the photos' names.

    folder     a folder of files, searched with its subfolders, where other files are passed over; or a Zarr store, a
               path or URL that ends in .zarr, which is read as `FeatureStore` reads it
    recipes    which readings: one Recipe gives FeatureMaps, a list of K gives Buckets in that order, as in `extract`.
               Without it the folder must hold one reading of each photo
    dtype      of the maps that come out: "fp32", "fp16", "bf16", a torch dtype, or None for what the files hold
    transform  called with each item in the worker that reads it; what it returns is the item

    Files are opened when their item is requested, so that a DataLoader may have any number of workers, and a folder of
    any size needs the memory of its batches. Give `collate_fn=FeatureDataset.collate` to get a FeatureBatch, unless
    transform gives what torch stacks by itself.

    Raises BadInput if the folder holds no features, features of several models or adapter contents, several readings
    of a photo where none was chosen, not the chosen ones of every photo, or one of them twice (in two dtypes, say).

    >>> import shiftless, tempfile
    >>> from torch.utils.data import DataLoader
    >>> folder = tempfile.TemporaryDirectory()
    >>> for maps in shiftless.stream("twin:sd15", torch.rand(3, 3, 64, 64), Recipe(taps=("up1",))):
    ...     _ = maps.save(f"{folder.name}/{maps.origin.photo}.safetensors")
    >>> dataset = FeatureDataset(folder.name)
    >>> dataset[0]
    FeatureMaps(image, 64x64 pixels read as 128x128: up1 64x8x8 stride 16)
    >>> [batch.maps["up1"].shape for batch in DataLoader(dataset, batch_size=2, collate_fn=dataset.collate)]
    [torch.Size([2, 64, 8, 8]), torch.Size([1, 64, 8, 8])]
    >>> folder.cleanup()
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        recipes: Recipe | Sequence[Recipe] | None = None,
        *,
        dtype: Dtype = "fp32",
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.transform = transform
        self._dtype = choose_output(dtype)
        self._several = recipes is not None and not isinstance(recipes, Recipe)
        chosen = [recipes] if isinstance(recipes, Recipe) else list(recipes or [])
        if self._several and not chosen:
            raise BadInput("no recipe was given; give at least one Recipe, or None")
        self._store = FeatureStore(folder, recipes, dtype=dtype) if is_store(folder) else None
        self._files = [] if self._store else _chosen(Path(folder), _readings(Path(folder)), chosen)

    def __len__(self) -> int:
        return len(self._files) if self._store is None else len(self._store)

    def __getitem__(self, index: int) -> Any:
        if self._store is None:
            readings = tuple(self._opened(file) for file in self._files[index])
            item = Bucket(readings) if self._several else readings[0]
        else:
            item = self._store[index]
        return item if self.transform is None else self.transform(item)

    def _opened(self, file: Path) -> FeatureMaps:
        maps = FeatureMaps.open(file)
        return replace(maps, maps={tap: value.to(dtype=self._dtype) for tap, value in maps.items()})

    @staticmethod
    def collate(items: Sequence[FeatureMaps | Bucket]) -> FeatureBatch:
        """Stack the items of a batch; raises BadInput for photos whose maps differ in size or taps.

        Maps of photos of different shapes have different sizes, unless they were read with fit="squash".
        """
        readings = [list(item) if isinstance(item, Bucket) else [item] for item in items]
        for row in readings:
            for maps, first in zip(row, readings[0]):
                if (ours := maps.describe()) != (theirs := first.describe()):
                    raise BadInput(
                        f"{maps.name} holds {ours}, and {first.name} {theirs}; read them with fit='squash', "
                        "or take one photo a batch"
                    )
        columns = [
            {tap: torch.cat([row[k][tap] for row in readings]) for tap in readings[0][k]}
            for k in range(len(readings[0]))
        ]
        stacked = columns[0]
        if isinstance(items[0], Bucket):
            shared = [tap for tap in columns[0] if all(tap in column for column in columns)]
            stacked = {tap: torch.stack([column[tap] for column in columns]) for tap in shared}
        firsts = [row[0] for row in readings]
        return FeatureBatch(stacked, [one.name for one in firsts], [one.frame for one in firsts])


ReadingsOfPhotos = dict[
    tuple[str, str], dict[str, tuple[Path, Recipe, Origin]]
]  # (name, digest) of a photo -> recipe key -> file


def _readings(folder: Path) -> ReadingsOfPhotos:
    """List the readings in a folder by photo, photos in the order of their names, from the headers alone."""
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; give the one that shiftless extract wrote")
    readings_of: ReadingsOfPhotos = {}
    first: tuple[Path, Origin] | None = None
    for file in sorted(folder.rglob("*.safetensors")):
        about = _header(file)
        recipe, origin = about["recipe"], about["origin"]
        first = first or (file, origin)
        if conflict := first[1].conflict(origin):
            raise BadInput(f"{file} and {first[0]}: features of {conflict}; give a folder of features of one model")
        readings = readings_of.setdefault((about["name"], origin.photo), {})
        if recipe.key() in readings:
            other = readings[recipe.key()][0]
            raise BadInput(f"{file} and {other}: two files of one reading of {about['name']}; keep one of them")
        readings[recipe.key()] = (file, recipe, origin)
    if not readings_of:
        raise BadInput(f"{folder}: no features in this folder; write some with shiftless extract")
    return dict(sorted(readings_of.items()))


def _chosen(folder: Path, readings_of: ReadingsOfPhotos, recipes: Sequence[Recipe]) -> list[tuple[Path, ...]]:
    """The files of each photo, readings in the order of the recipes."""
    if not recipes:
        held = {key: recipe for readings in readings_of.values() for key, (_, recipe, _) in readings.items()}
        if len(held) > 1:
            names = ", ".join(recipe.label or key for key, recipe in held.items())
            raise BadInput(f"{folder}: holds {len(held)} readings ({names}); choose with recipes=, as extract takes it")
        recipes = list(held.values())
    keys = [recipe.key() for recipe in recipes]
    for (name, _), readings in readings_of.items():
        for key, recipe in zip(keys, recipes):
            if key not in readings:
                label = recipe.label or recipe.to_toml().replace("\n", ", ") or "the default recipe"
                raise BadInput(f"{folder}: no reading of {name} by {label}; extract it, or leave it out")
    return [tuple(readings[key][0] for key in keys) for readings in readings_of.values()]


def _header(file: Path) -> dict[str, Any]:
    from safetensors import safe_open

    try:
        with safe_open(file, "pt") as opened:
            return from_header(opened.metadata() or {})
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from None
    except Exception as error:  # broken headers make the parsers raise nearly anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadInput(f"{file}: not a whole file of features ({reason}); extract it again") from None
