"""Explorer: the photos, the model's worker and the tabs' sessions of one running app, without the web."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shiftless.backbones.base import Backbone
from shiftless.errors import BadInput
from shiftless.explore.album import Album
from shiftless.explore.clicks import PointMatch
from shiftless.explore.labels import LabelAnswer, colours_for
from shiftless.explore.limits import Limits
from shiftless.explore.partsearch import StoreSearch
from shiftless.explore.readings import Readings
from shiftless.explore.session import Sessions
from shiftless.explore.worker import Worker
from shiftless.presets import Preset
from shiftless.reading.words import Fill

FIRST_CLASSES = ("background", "thing")
_PER_HEAD = "heads"  # the kind of taps that are left out of the list, one for each attention head


@dataclass
class Explorer:
    """What the app serves.

    note   a warning that the page shows, such as that the model is not for photographs
    store  a store that is searched, or None
    """

    album: Album
    readings: Readings
    limits: Limits
    note: str = ""
    store: StoreSearch | None = None
    worker: Worker = field(init=False)
    sessions: Sessions = field(init=False)

    def __post_init__(self) -> None:
        self.worker = Worker(self.limits.waiting)
        self.sessions = Sessions(self.limits.sessions)

    @classmethod
    def of(
        cls,
        model: Backbone,
        places: Sequence[Path],
        presets: Sequence[Preset],
        *,
        fill: Fill | None = None,
        limits: Limits | None = None,
        note: str = "",
        store: str | None = None,
    ) -> Explorer:
        """Make one for a loaded model, photos and recipes.

        places   pictures, and folders of them; none is an empty strip, to which the page uploads
        presets  one a column, at most four
        store    a store of features, by the same model, that the page searches

        Raises BadInput for places without a picture, recipes that the model cannot be read by, and a store by another.

        >>> from shiftless.backbones.registry import load
        >>> from shiftless.recipe import Recipe
        >>> explorer = Explorer.of(load("twin:sd15"), [], [Preset("plain", "", (Recipe(),), "")])
        >>> explorer.state()["recipes"][0]["name"]
        'plain'
        >>> explorer.close()
        """
        limits = limits or Limits()
        album = Album(places, limits)
        opened = None if store is None else StoreSearch(model, store, limits.feature_bytes)
        return cls(album, Readings(model, album, presets, fill), limits, note, opened)

    def searched(self) -> StoreSearch:
        """Return the store; raises BadInput if none was given."""
        if self.store is None:
            raise BadInput("no store is searched here; start the explorer with --store features.zarr")
        return self.store

    def state(self) -> dict[str, Any]:
        """Return what the page needs to begin: model, recipes, taps, photos, limits and the first classes."""
        model, classes = self.readings.model, colours_for(FIRST_CLASSES)
        return {
            "model": model.spec.name,
            "note": self.note,
            "recipes": [
                {
                    "id": number,
                    "name": column.name,
                    "readings": len(column.recipes),
                    "taps": list(column.recipes[0].taps),
                    "timestep": column.recipes[0].timestep,
                    "start": column.recipes[0].start,
                }
                for number, column in enumerate(self.readings.columns)
            ],
            "taps": [tap.name for tap in model.taps if tap.kind != _PER_HEAD],
            "photos": [self.photo_state(number) for number in range(len(self.album))],
            "left_out": self.album.left_out[:20],
            "classes": [
                {"name": name, "colour": hexadecimal(colour)} for name, colour in zip(classes.names, classes.palette)
            ],
            "store": None if self.store is None else dict(self.store.state()),
            "limits": {
                "upload_bytes": self.limits.upload_bytes,
                "upload_pixels": self.limits.upload_pixels,
                "photos": self.limits.photos,
                "classes": self.limits.classes,
            },
        }

    def photo_state(self, number: int) -> dict[str, Any]:
        """Return what the page is told of a photo; no path is."""
        return {"id": number, "name": self.album.entry(number).name}

    def close(self) -> None:
        """Stop the worker."""
        self.worker.close()


def match_state(match: PointMatch) -> dict[str, Any]:
    """Return a match as plain values."""
    return {
        "photo": match.target,
        "recipe": match.column,
        "point": list(match.point),
        "score": match.score,
        "low": match.low,
        "high": match.high,
    }


def label_state(answer: LabelAnswer) -> dict[str, Any]:
    """Return a fit's answer as plain values; masks are fetched one by one."""
    return {
        "photos": [
            {"id": photo, "uncertainty": one.uncertainty, "areas": list(one.areas), "spot": list(one.spot)}
            for photo, one in answer.photos.items()
        ],
        "paint_next": list(answer.paint_next),
        "steps": answer.steps,
        "seconds": answer.seconds,
        "end": answer.end,
    }


def hexadecimal(colour: Sequence[int]) -> str:
    """Write a colour as a page does.

    >>> hexadecimal((255, 0, 16))
    '#ff0010'
    """
    return "#{:02x}{:02x}{:02x}".format(*colour)
