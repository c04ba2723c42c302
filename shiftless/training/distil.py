"""Distillation of a pixel ensemble into one network, through pictures that the ensemble labels: DatasetDDPM."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shiftless.atomic import write_atomic
from shiftless.backbones.base import Backbone, steerable
from shiftless.backbones.generation import generate
from shiftless.errors import BadInput
from shiftless.progress import count, reporting
from shiftless.reading.together import Reader
from shiftless.reading.words import Fill
from shiftless.tasks.pixels import PixelEnsemble
from shiftless.training.network import FittedNetwork, NetworkSettings, check_place, fit_network, run_folder
from shiftless.training.pseudolabels import PictureStore, PseudoLabels, most_certain, name_of, pseudo_label
from shiftless.training.segformer import Architecture

_PLAN = "pictures.json"


@dataclass(frozen=True, eq=False)
class Generated:
    """Pictures that a model is to make: what `generate` takes, with how many; each is made when it is needed.

    >>> from shiftless.backbones.registry import load
    >>> pictures = Generated(load("twin:ddpm-bedroom"), 3, steps=1, size=32)
    >>> len(pictures), pictures.plan()["steps"]
    (3, 1)
    """

    model: Backbone
    number: int
    prompt: str = ""
    steps: int = 50
    guidance: float | None = None
    eta: float = 0.0
    seed: int = 0
    size: int | tuple[int, int] | None = None
    loras: tuple[tuple[str, float], ...] = ()
    batch: int | None = None

    def __len__(self) -> int:
        return self.number

    def plan(self) -> dict[str, Any]:
        """Return what the pictures depend on, but for their number."""
        loras = [[steerable(self.model, "lora").digest("lora", name), scale] for name, scale in self.loras]
        about = {"prompt": self.prompt, "steps": self.steps, "guidance": self.guidance, "eta": self.eta}
        return {"weights": self.model.fingerprint, **about, "seed": self.seed, "size": self.size, "loras": loras}

    def make(self, first: int, number: int) -> Iterator[np.ndarray]:
        """Yield `number` pictures from the picture `first` on; raises BadInput for settings that the model refuses."""
        return generate(
            self.model, number, first=first, prompt=self.prompt, steps=self.steps, guidance=self.guidance, eta=self.eta,
            seed=self.seed, size=self.size, loras=self.loras, batch=self.batch,
        )  # fmt: skip

    def complete(self, store: PictureStore, progress: bool = False) -> list[str]:
        """Make those pictures that a store lacks, in runs of numbers that follow each other; return all names."""
        names, there = [name_of(number) for number in range(self.number)], store.pictures()
        lacking = [number for number, name in enumerate(names) if name not in there]
        doing = f"generating {count(len(lacking), 'picture')} with {self.model.spec.name}"
        with reporting(progress and bool(lacking), doing, len(lacking), "picture") as report:
            while lacking:
                run = next((i for i, number in enumerate(lacking) if number != lacking[0] + i), len(lacking))
                for number, picture in zip(lacking[:run], self.make(lacking[0], run)):
                    store.add(number, picture)
                    report(1)
                lacking = lacking[run:]
        return names


@dataclass(frozen=True, eq=False)
class Distilled:
    """A network that learned from an ensemble's labels.

    fitted   the network, its folder and its losses
    labels   the pictures that it learned from, and those that were dropped
    skipped  messages of photos that cannot be read
    """

    fitted: FittedNetwork
    labels: PseudoLabels
    skipped: tuple[str, ...] = field(default=(), repr=False)


def distil(
    head: PixelEnsemble,
    readers: Sequence[Reader],
    pictures: Sequence[Any] | Generated,
    out: str | os.PathLike[str],
    settings: NetworkSettings | None = None,
    *,
    architecture: Architecture = "b0",
    drop: float = 0.1,
    side: int | None = 256,
    fill: Fill | None = None,
    batch: int | None = None,
    restart: bool = False,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Distilled:
    """Label pictures by an ensemble, drop the most uncertain ones, and train a segmentation network on the others.

    readers   the models that the head reads with, in its order
    pictures  Generated, as published, or photos: paths, or anything else that `open_photo` takes
    out       the network's folder; the pictures, their masks and the checkpoints lie in OUT.run beside it
    drop      the share of pictures that is dropped, those with the highest mean uncertainty
    side      of the grid that pixels are classified on, as `PixelEnsemble.predict` takes it
    fill, batch  for reading the pictures, as `shiftless.stream` takes them
    restart   drop what a run of other settings left, and train anew; what is still right of pictures and masks stays
    device    that the network is trained on; by default that of the first reader

    The network needs no diffusion model and answers in one pass. The same call goes on with a run that was killed.
    Raises BadInput for a folder of something else, a run of other settings, no picture at all, and as reading does.
    Source: Baranchuk et al., ICLR 2022 (DatasetDDPM), after DatasetGAN (Zhang et al., CVPR 2021).
    """
    out = Path(out)
    check_place(out)
    most_certain([], drop)
    if isinstance(pictures, Generated):
        pictures.make(0, 0)  # raises for settings that the model refuses, before anything is written
    store, skipped = PictureStore(run_folder(out)), []
    plan = pictures.plan() if isinstance(pictures, Generated) else {"weights": "photos that were given"}
    _begin(store, json.loads(json.dumps(plan)), restart=restart)
    if isinstance(pictures, Generated):
        names = pictures.complete(store, progress)
    else:
        names = []
        for number, photo in enumerate(pictures):
            try:
                names.append(store.add(number, photo))
            except BadInput as error:
                skipped.append(str(error))
    reading: dict[str, Any] = {"fill": fill, "batch": batch, "progress": progress}
    labels = pseudo_label(store, names, readers, head, drop=drop, side=side, **reading)
    fitted = fit_network(
        labels, head.classes, out, settings, architecture=architecture, palette=head.palette, identity=labels.identity,
        restart=restart, device=readers[0].model.device if device is None else device, progress=progress,
    )  # fmt: skip
    return Distilled(fitted, labels, tuple(skipped))


def _begin(store: PictureStore, plan: dict[str, Any], *, restart: bool) -> None:
    """Begin a store of pictures, or go on with one of the same plan; raises BadInput for another one."""
    file = store.folder / _PLAN
    if store.folder.exists() and not file.is_file() and next(store.folder.iterdir(), None) is not None:
        raise BadInput(f"{store.folder}: not the folder of a run; move it away, or give another --out")
    if file.is_file():
        try:
            began = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            began = None
        other = [name for name in plan if not isinstance(began, dict) or began.get(name) != plan[name]]
        if other and not restart:
            what = "source of pictures" if other[0] == "weights" else other[0]
            raise BadInput(f"{store.folder}: pictures of a run with another {what}; use --restart to drop them")
        for folder in (store.set, store.left_out) if other else ():
            shutil.rmtree(folder, ignore_errors=True)
    write_atomic(file, (json.dumps(plan) + "\n").encode())
