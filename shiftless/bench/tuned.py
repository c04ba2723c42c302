"""Scores of a model that is tuned together with a scene head, over several seeds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from shiftless.backbones.clip_folder import ClipFolder
from shiftless.bench.seeded import mark_of
from shiftless.bench.untrained import score_untrained
from shiftless.data.labelledphoto import LabelledPhotos
from shiftless.metrics.resplit import Split
from shiftless.progress import Progress
from shiftless.reading.together import Reader
from shiftless.segmenting import Odise
from shiftless.tasks.scenehead import MASKS, SceneHead
from shiftless.training.network import run_folder
from shiftless.training.scenes import fit_scenes
from shiftless.training.scenesettings import SceneSettings
from shiftless.training.scenesource import ReadScenes
from shiftless.tuning import TunedScenes, TuneSettings, as_tuned, tuning

_DONE = "training.json"  # what fit_scenes writes last


def tuned_scores(
    reader: Reader,
    train: LabelledPhotos,
    test: LabelledPhotos,
    folder: Path,
    settings: SceneSettings,
    tuned: TuneSettings,
    *,
    seeds: int,
    validation: LabelledPhotos | None = None,
    decoder: str = "upernet",
    options: Mapping[str, Any] | None = None,
    stride: int | None = None,
    clip: ClipFolder | None = None,
    progress: bool | Progress = False,
    **reading: Any,
) -> list[Split]:
    """Tune the model with a head of each seed, score both on the test photos, and return the counts: a Split a seed.

    reader      the model, which is afterwards as it was before, and its recipes
    folder      of the heads and of what was tuned beside them; what is there already is not trained again
    validation  photos that choose the step to keep; None keeps the last
    stride      pixels between the windows by which photos are segmented; None segments them as a whole
    clip        what looks at photos for an implicit caption; masks are named by it too, in training and, together with
                the head, in scoring (ODISE)
    progress    whether to show that of each head, or the Progress that whole heads are to be reported to
    reading     `fill` and `batch`, as `shiftless.stream` takes them

    Raises BadInput as `tuning` and `fit_scenes` do.
    """
    model, recipes = reader.model, tuple(reader.recipes)
    words, named = None, dict(options or {})
    if clip is not None and decoder == MASKS:
        words = clip.words(train.classes).cpu()
        known = {"words": words.shape[1], "clip": clip.fingerprint}
        named["proposals"] = {**named.get("proposals", {}), **known}
    counted: list[Split] = []
    for seed in range(seeds):
        here, what = replace(settings, seed=seed), replace(tuned, seed=seed)
        with tuning(model, recipes, what, train.classes, clip) as learned:
            learning, held = (
                None if part is None else TunedScenes(
                    learned, recipes, part, len(train.classes), here.side, part.unscored, stride=stride, **reading
                )
                for part in (train, validation)
            )  # fmt: skip
            assert learning is not None
            readings, names = [one.to_dict() for one in recipes], [None if held is None else held.names, learning.names]
            head = [decoder, named, stride, train.classes]
            place = folder / mark_of([learning.source.to_list(), readings, what.plan(), asdict(here), head, names])
            if not (place / _DONE).is_file():
                fit_scenes(
                    learning, train.classes, place, here, validation=held, decoder=decoder, options=named,
                    words=words, learned=learned, device=model.device, progress=progress is True,
                )  # fmt: skip
        shutil.rmtree(run_folder(place), ignore_errors=True)  # three times the model's size
        fitted = SceneHead.from_pretrained(place)
        with as_tuned(fitted, place, model) as own:
            read, fitted = Reader(own, recipes), fitted.to(model.device)
            if clip is not None and words is not None:
                scored = score_untrained(Odise(fitted, read, clip, test.classes, **reading), test)
            else:
                source = ReadScenes(read, test, len(test.classes), here.side, test.unscored, stride=stride, **reading)
                scored = source.score(fitted)
            counted.append(dict(enumerate(scored)))
        if isinstance(progress, Progress):
            progress.advance()
    return counted
