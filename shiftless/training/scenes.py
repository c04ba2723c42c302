"""Fitting a scene head on labelled photos, with checkpoints that a killed run goes on from."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import clip_grad_norm_ as clip_norm

from shiftless.atomic import write_atomic
from shiftless.backbones.device import choose_device, trains_in_bf16
from shiftless.digest import digest_of, digest_of_tensors
from shiftless.errors import BadInput
from shiftless.metrics.segmentation import IGNORE, Confusion
from shiftless.noise import seeded
from shiftless.progress import Progress, reporting
from shiftless.tasks.scenehead import MASKS, SceneHead
from shiftless.training.checkpoint import INDEX, load_checkpoint, save_checkpoint
from shiftless.training.lovasz import lovasz_softmax
from shiftless.training.maskloss import MOST_NORM, mask_loss
from shiftless.training.network import run_folder
from shiftless.training.optimiserstate import optimiser_tensors, restore_optimiser
from shiftless.training.processes import Processes
from shiftless.training.scenesettings import SceneSettings
from shiftless.training.scenesource import Features, SceneSource

_AHEAD = 2  # batches whose views are prepared while one is learned
_SMOOTH = 0.98
_CHECKPOINT, _BEST, _TUNED, _REPORT = "checkpoint", "best.safetensors", "tuned", "training.json"


class Learned(Protocol):
    """What learns of the model that reads the views, together with a head (`shiftless.tuning`).

    plan  what a run may not change when it is continued, as plain values
    """

    plan: dict[str, Any]

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Return its weights, each group with its learning rate as a factor of the head's."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what checkpoints keep of it, by name."""

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what `tensors` gave; raises KeyError or RuntimeError for what does not fit."""

    def save(self, folder: Path) -> None:
        """Write it as files of a folder."""

    def seal(self, head: SceneHead, folder: Path) -> list[Path]:
        """Let a head refer to the files that `save` wrote by their digests, and return them."""


@dataclass(frozen=True, eq=False)
class FittedScenes:
    """A trained scene head and how it got there.

    head     as it was at `best`, in eval mode, on the CPU
    folder   that it was saved in
    history  a row for each look: step, loss (running mean), train_miou (of the views since the last look) and miou (of
             the validation photos; None without any)
    best     the step with the best validation mIoU; the last step if there were no validation photos
    seconds  that this call took
    """

    head: SceneHead
    folder: Path
    history: list[dict[str, Any]] = field(repr=False)
    best: int
    seconds: float


def fit_scenes(
    train: SceneSource,
    classes: Sequence[str],
    out: str | os.PathLike[str],
    settings: SceneSettings | None = None,
    *,
    validation: SceneSource | None = None,
    decoder: str = "upernet",
    options: Mapping[str, Any] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    words: torch.Tensor | None = None,
    learned: Learned | None = None,
    run: str | os.PathLike[str] | None = None,
    restart: bool = False,
    device: str | torch.device = "auto",
    processes: Processes | None = None,
    progress: bool | Progress = False,
) -> FittedScenes:
    """Train a scene head on views of labelled photos, and save the best as a folder.

    train       KeptScenes or ReadScenes      validation  photos that choose the step to keep; None keeps the last
    classes     L names                       palette     L colours
    out         the folder to write           decoder, options  as SceneHead takes them
    words       L D, the embeddings of the classes' names, for a head of "mask2former" that was made for such
    learned     what learns of the backbone too, saved beside the head; by default the backbone stays as it is
    run         folder of the checkpoints; OUT.run by default
    restart     begin anew although a run has begun; by default it is continued
    processes   that train together, with the batch shared out among them; the first one writes

    Cross-entropy and Lovász-softmax of logits enlarged to the view, and the cross-entropy of the auxiliary head; for
    masks, Mask2Former's own loss. AdamW with a polynomial decay. A run that is killed at any moment goes on from its
    last checkpoint, to the same head on the same device. Raises BadInput for a folder of something else, a run of
    another head, other settings or photos, labels that are no class, and a disk that is full, where the last checkpoint
    stays whole.
    Source: GATE, NeurIPS 2024, section on standard segmentation.
    """
    began = time.perf_counter()
    settings, out = settings or SceneSettings(), Path(out)
    check_scene_place(out)
    processes = processes or Processes()
    _check(train, validation, settings, decoder, processes)
    folder = Path(run) if run is not None else run_folder(out)
    with seeded(settings.seed):
        head = SceneHead(
            train.levels, classes, decoder, **(options or {}), window=train.window, source=train.source,
            palette=palette, recipes=train.recipes,
        )  # fmt: skip
    plan = _plan(head, train, validation, settings)
    if words is not None:
        named: Any = head.decoder
        named.set_words(words)
        plan["words"] = digest_of_tensors({"words": words})
    if learned is not None:
        plan["tuning"] = digest_of(json.dumps(learned.plan))
    training = _Training(head, settings, choose_device(device), folder, learned, processes)
    if restart and processes.main and (folder / _CHECKPOINT / INDEX).is_file():
        shutil.rmtree(folder / _CHECKPOINT)
    processes.wait()
    training.restore(plan)
    left = settings.steps - training.step
    doing = f"training a {decoder} head on {len(train.names)} photos"
    with reporting(progress and bool(left), doing, left, "step") as report:
        for features, labels in _batches(train, settings, training.step, processes):
            training.learn(features, labels)
            report(1, f"loss {training.loss:.3f}, mIoU {training.running.miou():.3f}")
            if training.step % settings.every == 0 or training.step == settings.steps:
                training.look(validation)
                if processes.main:
                    training.save(plan)
                processes.wait()
    best = training.best_step if validation is not None else settings.steps
    head = SceneHead.from_pretrained(folder / _BEST) if validation is not None else head.cpu().eval()
    files: list[Path] = []
    if learned is not None:
        if validation is None and processes.main:
            learned.save(folder / _TUNED)
        processes.wait()
        files = learned.seal(head, folder / _TUNED)
    if processes.main:
        head.save_pretrained(out)
        for file in files:
            write_atomic(out / file.name, file.read_bytes())
        about = {"settings": asdict(settings), "best": best, "photos": len(train.names), "history": training.history}
        write_atomic(out / _REPORT, (json.dumps(about, indent=1) + "\n").encode())
    processes.wait()
    return FittedScenes(head, out, training.history, best, time.perf_counter() - began)


def scene_loss(
    logits: torch.Tensor,
    auxiliary: torch.Tensor | None,
    labels: torch.Tensor,
    lovasz: float = 1.0,
    weight: float = 0.4,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of a batch, and its logits enlarged to the labels, B L S S.

    logits, auxiliary  B L h w each, on grids of their own; auxiliary counts by `weight`, with cross-entropy alone
    labels             B S S, whole numbers; IGNORE is left out
    lovasz             how much the Lovász-softmax loss counts

    >>> loss, large = scene_loss(torch.zeros(2, 4, 3, 3), None, torch.zeros(2, 6, 6).long(), lovasz=0)
    >>> round(float(loss), 3), large.shape  # ln 4
    (1.386, torch.Size([2, 4, 6, 6]))
    """
    large = _enlarged(logits, labels)
    loss = _cross_entropy(large, labels)
    if lovasz:
        loss = loss + lovasz * lovasz_softmax(large, labels)
    if auxiliary is not None and weight:
        loss = loss + weight * _cross_entropy(_enlarged(auxiliary, labels), labels)
    return loss, large


def check_scene_place(out: Path) -> None:
    """Raise BadInput unless a head may be written to a folder: a new or empty one, or one that holds a scene head.

    >>> check_scene_place(Path("a/new/folder"))
    """
    if out.is_file() or not out.name:
        raise BadInput(f"{out}: give the name of a new folder for the head")
    if out.is_dir() and not SceneHead.is_at(out) and any(not path.name.startswith(".") for path in out.iterdir()):
        raise BadInput(f"{out}: holds something else than a scene head; give the name of a new folder")


class _Training:
    """A head in training: its weights, its optimiser, and where it stands."""

    def __init__(
        self, head: SceneHead, settings: SceneSettings, device: torch.device, folder: Path, learned: Learned | None,
        processes: Processes,
    ) -> None:  # fmt: skip
        self.head, self.settings, self.device, self.folder = head.to(device), settings, device, folder
        self.learned, self.processes = learned, processes
        groups = [(list(head.parameters()), 1.0), *([] if learned is None else learned.groups())]
        self.optimiser = torch.optim.AdamW(
            [{"params": weights, "factor": factor} for weights, factor in groups],
            lr=settings.lr, weight_decay=settings.weight_decay,
        )  # fmt: skip
        self.step, self.loss = 0, math.nan
        self.best_step, self.best = 0, -1.0
        self.history: list[dict[str, Any]] = []
        self.running = Confusion(len(head.classes))
        self.fast = trains_in_bf16(device)

    def learn(self, features: Features, labels: torch.Tensor) -> None:
        """Take one step on views, this process's own and the others': levels K B C h w, labels B S S uint8."""
        settings = self.settings
        self.head.train()
        masks = self.head.settings["decoder"] == MASKS
        for group in self.optimiser.param_groups:
            group["lr"] = group["factor"] * settings.rate(self.step)
        labels = self.processes.joined(labels.to(self.device))
        target = labels.long()
        placed = [self.processes.joined(one.to(self.device), dim=1) for one in features]
        seed = (settings.seed * 1_000_003 + self.step) % 2**63  # of dropout
        with seeded(seed, self.device):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast):
                answered: Any = self.head.proposals(placed) if masks else self.head.answers(placed)
            if masks:
                loss, large = mask_loss(answered, target)
            else:
                logits, auxiliary = answered
                loss, large = scene_loss(logits, auxiliary, target, settings.lovasz, settings.auxiliary)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        of_model = [] if self.learned is None else [one for group, _ in self.learned.groups() for one in group]
        self.processes.reduce_gradients(self.head.parameters(), of_model)
        if masks:
            clip_norm([one for group in self.optimiser.param_groups for one in group["params"]], MOST_NORM)
        self.optimiser.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise BadInput(f"the loss is {value} at step {self.step}; take a smaller learning rate")
        self.loss = value if math.isnan(self.loss) else _SMOOTH * self.loss + (1 - _SMOOTH) * value
        self.running.add(labels.cpu().numpy(), large.detach().argmax(1).cpu().numpy())
        self.step += 1

    def look(self, validation: SceneSource | None) -> None:
        """Score the validation photos, and keep the head if it is the best so far."""
        miou = None
        if validation is not None:
            counted = self._scored(validation)
            miou = float(np.nan_to_num(sum(counted[1:], counted[0]).miou()))
            if miou > self.best or not self.best_step:
                self.best, self.best_step = miou, self.step
                if self.processes.main:
                    self.head.save(self.folder / _BEST)
                    if self.learned is not None:
                        self.learned.save(self.folder / _TUNED)
        train_miou = self.running.miou() if self.running.counts.any() else None
        self.history.append({"step": self.step, "loss": self.loss, "train_miou": train_miou, "miou": miou})
        self.running = Confusion(len(self.head.classes))

    def _scored(self, validation: SceneSource) -> list[Confusion]:
        if self.processes.number == 1:
            return validation.score(self.head)
        own = self.processes.share(range(len(validation.names)))
        return self.processes.collected(validation.score(self.head, own) if own else [])

    def save(self, plan: dict[str, str]) -> None:
        """Leave a checkpoint."""
        tensors = {f"head.{name}": value for name, value in self.head.state_dict().items()}
        tensors |= optimiser_tensors(self.optimiser)
        if self.learned is not None:
            tensors |= {f"learned.{name}": value for name, value in self.learned.tensors().items()}
        numbers = {
            "plan": plan, "step": self.step, "loss": self.loss, "best": self.best, "best_step": self.best_step,
            "history": self.history,
        }  # fmt: skip
        save_checkpoint(self.folder / _CHECKPOINT, tensors, numbers)

    def restore(self, plan: dict[str, str]) -> None:
        """Go on from the checkpoint, if there is one; raises BadInput for one of another run."""
        if not (self.folder / _CHECKPOINT / INDEX).is_file():  # none, or killed while the first one was written
            return
        found = load_checkpoint(self.folder / _CHECKPOINT)
        assert found is not None
        tensors, numbers = found
        began = numbers.get("plan")
        other = [name for name in plan if not isinstance(began, dict) or began.get(name) != plan[name]]
        if other:
            raise BadInput(f"{self.folder}: a run with another {other[0]}; use --restart to train anew")
        try:
            own = {name.removeprefix("head."): one for name, one in tensors.items() if name.startswith("head.")}
            self.head.load_state_dict(own)
            if self.learned is not None:
                kept = {name: one for name, one in tensors.items() if name.startswith("learned.")}
                self.learned.restore({name.removeprefix("learned."): one for name, one in kept.items()})
            restore_optimiser(self.optimiser, tensors)
            self.step, self.loss, self.history = int(numbers["step"]), float(numbers["loss"]), list(numbers["history"])
            self.best, self.best_step = float(numbers["best"]), int(numbers["best_step"])
        except (KeyError, RuntimeError, TypeError, ValueError):
            raise BadInput(f"{self.folder}: not a checkpoint of this program; use --restart to train anew") from None
        if self.best_step and not SceneHead.is_at(self.folder / _BEST):
            raise BadInput(f"{self.folder / _BEST}: the best head is gone; use --restart to train anew")


def _plan(
    head: SceneHead, train: SceneSource, validation: SceneSource | None, settings: SceneSettings
) -> dict[str, str]:
    """What a run may not change when it is continued, as digests."""
    about = {
        name: value for name, value in head.settings.items() if name not in ("levels", "source", "palette", "tuned")
    }
    values = {
        "model": head.settings["source"], "reading": [head.settings["levels"], [r.to_dict() for r in train.recipes]],
        "head": about, **asdict(settings), "set of photos": train.names,
        "set of validation photos": None if validation is None else validation.names,
    }  # fmt: skip
    return {name: digest_of(json.dumps(value)) for name, value in values.items()}


def _batches(
    source: SceneSource, settings: SceneSettings, first: int, processes: Processes | None = None
) -> Iterator[tuple[Features, torch.Tensor]]:
    """Yield this process's views of every step from `first` on; they are prepared ahead.

    View k of a run is drawn from (seed, k), and of the photo that its epoch's order gives, wherever a run begins.
    """
    share = (processes or Processes()).share
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        waiting: deque[list[Future[Any]]] = deque()
        for step in range(first, settings.steps + _AHEAD):
            if step < settings.steps:
                numbers = share(range(step * settings.batch, (step + 1) * settings.batch))
                waiting.append([pool.submit(_view, source, settings, k) for k in numbers])
            if waiting and (len(waiting) > _AHEAD or step >= settings.steps):
                yield source.batch([one.result() for one in waiting.popleft()])


def _view(source: SceneSource, settings: SceneSettings, k: int) -> Any:
    photos = len(source.names)
    epoch, place = divmod(k, photos)
    index = int(_order(settings.seed, epoch, photos)[place])
    return source.view(index, np.random.default_rng([settings.seed, 2, k]), settings)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, photos: int) -> np.ndarray:
    """In what order an epoch goes through the photos."""
    return np.random.default_rng([seed, 1, epoch]).permutation(photos)


def _check(
    train: SceneSource, validation: SceneSource | None, settings: SceneSettings, decoder: str, processes: Processes
) -> None:
    train.check(settings)
    if settings.batch % processes.number:
        raise BadInput(
            f"batch={settings.batch}: {processes.number} devices share the views of a step; give a multiple of that"
        )
    if decoder == "upernet" and settings.batch < 2:
        raise BadInput("batch=1: UPerNet pools a level to one cell and norms it over the batch; give at least 2")
    if validation is not None and (validation.levels, validation.window) != (train.levels, train.window):
        raise BadInput(
            "the validation photos were read otherwise than those to train on; read them by the same recipes"
        )


def _cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    total = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
    return total / (labels != IGNORE).sum().clamp_min(1)


def _enlarged(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.interpolate(logits.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
