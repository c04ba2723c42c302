"""Shifts: where content shifted in photos, technique by technique, as `shiftless audit` measures it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from shiftless.auditing import Audit, Observation, audit
from shiftless.auditing.candidates import candidates, fewer
from shiftless.auditing.compared import compared
from shiftless.auditing.cost import audit_calls
from shiftless.auditing.measures import measure_named, worded
from shiftless.auditing.observation import DRAWS, planned
from shiftless.errors import BadInput
from shiftless.explore.readings import Readings
from shiftless.explore.worker import Job, Step, Steps
from shiftless.reading.words import check_predicts
from shiftless.recipe import Recipe
from shiftless.view.audit import heat_scale, shift_overlay
from shiftless.view.audit_answer import answer, doubts

MOST = 6
"""How many recipes are tried of those at hand."""
KINDS = ("photo", "copy", "predicted", "where")
"""Pictures of a photo: as the model is fed it, the autoencoder's copy, the predicted clean image, where it shifted."""


@dataclass(frozen=True)
class ShiftRequest:
    """A request: how far do readings of these photos shift at a timestep, by each technique?

    timestep  None takes that of the column's recipe
    """

    photos: tuple[int, ...]
    column: int
    timestep: int | None = None


@dataclass(frozen=True, eq=False)
class ShiftAnswer:
    """An audit, with what is drawn of each photo by its number; `top` ends the scale of all maps, in CIEDE2000."""

    audit: Audit
    photos: Mapping[int, Observation]
    top: float


def techniques(readings: Readings, request: ShiftRequest) -> list[Recipe]:
    """Return what is tried: the column's recipe and the techniques at hand, at the timestep that is asked for.

    Those are chosen as `shiftless audit` chooses where nobody says what to try. Raises BadInput for a timestep out of
    range, and for a model that predicts no clean image.
    """
    check_predicts(readings.model)
    own = readings.column(request.column).recipes[0]
    at = own.timestep if request.timestep is None else request.timestep
    if not 0 <= at < len(readings.model.schedule):
        raise BadInput(f"timestep {at}: give one from 0 to {len(readings.model.schedule) - 1}")
    own = own.at(at).but(label="")
    return list(dict.fromkeys([own, *fewer(candidates(readings.model, own, timesteps=[at]), MOST)]))


def measure_shift(readings: Readings, request: ShiftRequest, job: Job) -> Steps:
    """Audit photo after photo, and return a ShiftAnswer of all of them."""
    recipes = techniques(readings, request)
    calls = audit_calls(*planned(compared(recipes)[0], finish=0))
    total, done = calls * len(request.photos), 0
    parts: list[Audit] = []
    observed: dict[int, Observation] = {}
    yield Step(0, total, "denoiser call")
    for photo in request.photos:
        keep: list[Observation] = []
        parts.append(
            audit(
                readings.model, readings.album.photo(photo), recipes, fill=readings.fill, draws=DRAWS, finish=0,
                batch=1, on_observation=keep.append, report=job.check,
            )
        )  # fmt: skip
        observed[photo] = keep[0]
        done += calls
        yield Step(done, total, "denoiser call")
    top = heat_scale(list(observed.values()), range(len(parts[0].recipes)))
    return ShiftAnswer(joined(parts), observed, top)


def joined(parts: Sequence[Audit]) -> Audit:
    """Return audits of several photos, by the same recipes, as one.

    >>> one = Audit("m", (Recipe(label="a"),), (0,), ["x"], {"latent": np.array([[0.2]])}, {"colour": np.array([1.0])})
    >>> both = joined([one, one])
    >>> both.names, both.scores["latent"].shape, both.floor["colour"].shape
    (['x', 'x'], (2, 1), (2,))
    """
    first = parts[0]
    return replace(
        first,
        names=[name for part in parts for name in part.names],
        scores={name: np.concatenate([part.scores[name] for part in parts]) for name in first.scores},
        floor={name: np.concatenate([part.floor[name] for part in parts]) for name in first.floor},
    )


def shift_state(result: ShiftAnswer) -> dict[str, Any]:
    """Return an answer as plain values: a row for each recipe, least shift first, and the audit's own sentences."""
    one = result.audit
    rows = []
    for k in one.ranked():
        value, saved = one.value(k), one.saved(k)
        rows.append(
            {
                "id": k,
                "label": one.recipes[k].label,
                "value": list(value),
                "saved": None if one.baselines[k] == k else list(saved),
                "photos": one.scores[one.headline][:, k].tolist(),
            }
        )
    return {
        "photos": list(result.photos),
        "recipes": rows,
        "measure": worded(one.headline),
        "digits": measure_named(one.headline).digits,
        "sentences": [answer(one), *doubts(one)],
        "top": result.top,
    }


def shift_picture(result: ShiftAnswer, photo: int, kind: str, k: int) -> bytes:
    """Return a PNG of a photo by recipe k, as KINDS names it; raises BadInput for what is not there."""
    observation = result.photos.get(photo)
    if observation is None or kind not in KINDS or not 0 <= k < len(observation.once):
        raise BadInput("the last audit has no such picture; press Measure")
    pictures = {"photo": observation.given, "copy": observation.kept, "predicted": observation.once[k]}
    picture = shift_overlay(observation.kept, observation.where[k], result.top) if kind == "where" else pictures[kind]
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", compress_level=1)
    return out.getvalue()
