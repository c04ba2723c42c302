"""What tests of several workers share: the maps of a store by photo, whether two are the same, and a kill."""

from __future__ import annotations

import multiprocessing

import torch

import shiftless
from shiftless.store.manifest import Manifest
from shiftless.store.place import place_of

RECIPES = (shiftless.Recipe(taps=("up0",), size=64), shiftless.Recipe(taps=("up1",), size=64, seed=1))
BATCH = 2


def maps_of(out):
    """Every map of a store or folder: (photo, recipe's seed, tap) -> values."""
    if str(out).endswith(".zarr"):
        groups = Manifest.of(place_of(str(out))).groups.values()
        rows = [maps for one in groups for maps in shiftless.FeatureStore(out, groups=[one.name], dtype=None)]
    else:
        rows = [shiftless.FeatureMaps.open(file) for file in out.glob("*.safetensors")]
    return {(maps.name, maps.recipe.seed, tap): value for maps in rows for tap, value in maps.items()}


def same(one, other):
    """Whether two such dictionaries hold the same numbers, to the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def kill_a_worker():
    """Kill one of the processes that this one has started, and return its number."""
    worker = multiprocessing.active_children()[0]
    worker.kill()
    return worker.pid
