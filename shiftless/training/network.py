"""Training a segmentation network on labelled photos, with checkpoints that a killed run goes on from."""

from __future__ import annotations

import math
import os
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from shiftless.backbones.device import choose_device, trains_in_bf16
from shiftless.backbones.vision_folder import Preparation
from shiftless.digest import digest_of
from shiftless.errors import BadInput
from shiftless.image import open_photo
from shiftless.metrics.segmentation import IGNORE
from shiftless.noise import seeded
from shiftless.progress import Progress, reporting
from shiftless.training.augment import SCALES, augmented
from shiftless.training.checkpoint import INDEX, load_checkpoint, save_checkpoint
from shiftless.training.optimiserstate import optimiser_tensors, restore_optimiser
from shiftless.training.segformer import STRIDE, Architecture, identity_of, is_pretrained, new_network
from shiftless.training.segmentation_network import SegmentationNetwork, new_preparation

_AHEAD = 2  # batches that are made ready while one is learned
_SMOOTH = 0.98
_MOST_SIDE = 512  # pixels, where nobody says more


class Labelled(Protocol):
    """A photo with its mask, such as a LabelledPhoto."""

    @property
    def name(self) -> str:
        """Its name, for messages."""

    @property
    def photo(self) -> Any:
        """What `open_photo` takes."""

    def mask(self) -> np.ndarray:
        """H W uint8: class numbers, and IGNORE where nothing is labelled."""


@dataclass(frozen=True)
class NetworkSettings:
    """How a segmentation network is trained.

    steps, batch  of training; views a step
    side          pixels of a view, and of photos later: a multiple of 32; 0 takes the first photo's, at most 512
    lr            AdamW's peak; by default 5e-4 from random weights, and 6e-5 from trained ones, whose new head learns
                  ten times as fast (as published)
    weight_decay  of all weights but biases and norms
    warmup        share of the steps over which the rate grows
    power         the rate then falls as (1 - step / steps) ** power
    scales, flip  of the views, as `augmented` takes them
    every         steps between checkpoints
    seed          of weights, order, views and dropout

    Raises BadInput for settings that make no sense.

    >>> round(NetworkSettings(steps=100, warmup=0.1, lr=1.0).rate(4), 3)
    0.482
    """

    steps: int = 8000
    batch: int = 16
    side: int = 0
    lr: float | None = None
    weight_decay: float = 0.01
    warmup: float = 0.05
    power: float = 0.9
    scales: tuple[float, float] = SCALES
    flip: bool = True
    every: int = 250
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.every) < 1 or self.seed < 0:
            raise BadInput(
                f"steps={self.steps}, batch={self.batch}, every={self.every}, seed={self.seed}: give at least 1, and a "
                "seed of 0 or more"
            )
        if self.side < 0 or self.side % STRIDE:
            raise BadInput(f"side={self.side}: give a multiple of {STRIDE} pixels")
        low, high = self.scales
        rates = (self.lr is None or self.lr > 0) and self.weight_decay >= 0 and self.power >= 0
        if not rates or not 0 <= self.warmup <= 1 or not 0 < low <= high:
            raise BadInput(
                f"lr={self.lr}, weight_decay={self.weight_decay:g}, power={self.power:g}, warmup={self.warmup:g}, "
                f"scales={low:g} to {high:g}: give positive numbers, and a warmup from 0 to 1"
            )

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, of the encoder where there are two."""
        grown = min(1.0, (step + 1) / max(1.0, self.warmup * self.steps))
        return (self.lr or 0.0) * grown * float((1 - step / self.steps) ** self.power)


@dataclass(frozen=True, eq=False)
class FittedNetwork:
    """A trained network and how it got there.

    network  as it was saved, in eval mode
    folder   a plain transformers folder
    history  a row for each checkpoint: step, and loss (running mean)
    """

    network: SegmentationNetwork
    folder: Path
    history: list[dict[str, Any]] = field(repr=False)


def fit_network(
    labelled: Sequence[Labelled],
    classes: Sequence[str],
    out: str | os.PathLike[str],
    settings: NetworkSettings | None = None,
    *,
    architecture: Architecture = "b0",
    palette: Sequence[Sequence[int]] | None = None,
    identity: str = "",
    run: str | os.PathLike[str] | None = None,
    restart: bool = False,
    device: str | torch.device = "auto",
    progress: bool | Progress = False,
) -> FittedNetwork:
    """Train a SegFormer on labelled photos, and save it as a folder of transformers.

    labelled      photos with their masks, read when they are needed
    classes       L names                        palette  L colours, kept in the network's config
    out           the folder to write            architecture  as `new_network` takes it
    identity      what the photos and masks are, such as a digest; a run goes on only with the same
    run           folder of the checkpoints; OUT.run/checkpoint by default
    restart       begin anew although a run has begun; by default it is continued

    Cross-entropy of logits enlarged to the view, without pixels labelled IGNORE; AdamW with a polynomial decay. A run
    that is killed at any moment goes on from its last checkpoint, to the same network on the same device. Raises
    BadInput for a folder of something else, a run of other settings or photos, and labels that are no class.
    Source: Xie et al., NeurIPS 2021 (SegFormer), section 4.1.
    """
    settings = settings or NetworkSettings()
    out = Path(out)
    check_place(out)
    if not labelled:
        raise BadInput("no labelled photos to train on; give at least one")
    lr = settings.lr or (6e-5 if is_pretrained(architecture) else 5e-4)
    settings = replace(settings, lr=lr, side=settings.side or _side_of(labelled[0].photo))
    folder = Path(run) if run is not None else run_folder(out) / "checkpoint"
    fixed = {name: value for name, value in asdict(settings).items() if name != "every"}
    names = [str(one.name) for one in labelled]
    about = {**fixed, "architecture": identity_of(architecture), "classes": list(classes)}
    plan = {name: digest_of(value) for name, value in {**about, "photos": [identity, names]}.items()}
    training = _Training(new_network(architecture, classes, palette, settings.seed), settings, choose_device(device))
    training.new_head = is_pretrained(architecture)
    if restart and (folder / INDEX).is_file():
        shutil.rmtree(folder)
    training.restore(folder, plan)
    doing = f"training a SegFormer on {len(labelled)} photos"
    with reporting(progress, doing, settings.steps - training.step, "step") as report:
        for photos, labels in _batches(labelled, len(classes), settings, training.step):
            training.learn(photos, labels)
            report(1)
            if training.step % settings.every == 0 or training.step == settings.steps:
                training.save(folder, plan)
    network = training.network.eval().requires_grad_(False)
    made = SegmentationNetwork(network, settings.side, new_preparation(settings.side))
    made.save(out)
    return FittedNetwork(made, out, training.history)


def run_folder(out: Path) -> Path:
    """Return the folder of the run that makes a network: OUT.run beside OUT.

    >>> run_folder(Path("nets/rooms")).as_posix()
    'nets/rooms.run'
    """
    return out.with_name(f"{out.name}.run")


def check_place(out: Path) -> None:
    """Raise BadInput unless a network may be written to a folder: a new or empty one, or one that holds a SegFormer.

    >>> check_place(Path("a/new/folder"))
    """
    if out.is_file() or not out.name:
        raise BadInput(f"{out}: give the name of a new folder for the network")
    if out.is_dir() and not SegmentationNetwork.is_at(out):
        ours = {"model.safetensors", "preprocessor_config.json"}  # of a run that was killed before its last file
        if {path.name for path in out.iterdir() if not path.name.startswith(".")} - ours:
            raise BadInput(f"{out}: holds something else than a network; give the name of a new folder")


class _Training:
    """A network in training: its weights, its optimiser, and where it stands."""

    new_head = False

    def __init__(self, network: Any, settings: NetworkSettings, device: torch.device) -> None:
        self.network, self.settings, self.device = network.to(device), settings, device
        self.step, self.loss = 0, math.nan
        self.history: list[dict[str, Any]] = []
        groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
        for name, parameter in network.named_parameters():
            groups.setdefault((name.startswith("decode_head."), parameter.ndim > 1), []).append(parameter)
        self.heads = [head for head, _ in groups]
        rows = [
            {"params": parameters, "weight_decay": settings.weight_decay if decayed else 0.0}
            for (_, decayed), parameters in groups.items()
        ]
        self.optimiser = torch.optim.AdamW(rows, lr=1.0)
        self.prepare: Preparation = new_preparation(settings.side)
        self.fast = trains_in_bf16(device)

    def learn(self, photos: torch.Tensor, labels: torch.Tensor) -> None:
        """Take one step on views B 3 S S uint8 and their labels B S S uint8."""
        for head, group in zip(self.heads, self.optimiser.param_groups):
            group["lr"] = self.settings.rate(self.step) * (10 if head and self.new_head else 1)
        pixels = self.prepare.normalise(photos.to(self.device).float() / 255)
        target = labels.to(self.device).long()
        seed = (self.settings.seed * 1_000_003 + self.step) % 2**63  # of dropout and stochastic depth
        with seeded(seed, self.device), torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast):
            logits = self.network(pixel_values=pixels).logits
        large = F.interpolate(logits.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
        each = F.cross_entropy(large, target, ignore_index=IGNORE, reduction="sum")
        loss = each / (target != IGNORE).sum().clamp_min(1)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise BadInput(f"the loss is {value} at step {self.step}; take a smaller learning rate")
        self.loss = value if math.isnan(self.loss) else _SMOOTH * self.loss + (1 - _SMOOTH) * value
        self.step += 1

    def save(self, folder: Path, plan: dict[str, str]) -> None:
        """Leave a checkpoint."""
        self.history.append({"step": self.step, "loss": self.loss})
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= optimiser_tensors(self.optimiser)
        numbers = {"plan": plan, "step": self.step, "loss": self.loss, "history": self.history}
        save_checkpoint(folder, tensors, numbers)

    def restore(self, folder: Path, plan: dict[str, str]) -> None:
        """Go on from the checkpoint, if there is one; raises BadInput for one of another run."""
        if not (folder / INDEX).is_file():  # none, or killed while the first one was written
            return
        found = load_checkpoint(folder)
        assert found is not None
        tensors, numbers = found
        began = numbers.get("plan")
        other = [name for name in plan if not isinstance(began, dict) or began.get(name) != plan[name]]
        if other:
            raise BadInput(f"{folder}: a run with other settings ({other[0]}); use --restart to train anew")
        try:
            own = {key.removeprefix("network."): one for key, one in tensors.items() if key.startswith("network.")}
            self.network.load_state_dict(own)
            restore_optimiser(self.optimiser, tensors)
            self.step, self.loss, self.history = int(numbers["step"]), float(numbers["loss"]), list(numbers["history"])
        except (KeyError, RuntimeError, TypeError, ValueError):
            raise BadInput(f"{folder}: not a checkpoint of this program; use --restart to train anew") from None


def _batches(
    labelled: Sequence[Labelled], classes: int, settings: NetworkSettings, first: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield views B 3 S S uint8 and labels B S S uint8 of every step from `first` on; photos are read ahead.

    View k of a run is drawn from (seed, k), and of the photo that its epoch's order gives, wherever a run begins.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        waiting: deque[list[Future[tuple[np.ndarray, np.ndarray]]]] = deque()
        for step in range(first, settings.steps + _AHEAD):
            if step < settings.steps:
                numbers = range(step * settings.batch, (step + 1) * settings.batch)
                waiting.append([pool.submit(_view, labelled, classes, settings, k) for k in numbers])
            if waiting and (len(waiting) > _AHEAD or step >= settings.steps):
                yield _stacked([one.result() for one in waiting.popleft()])


def _stacked(views: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
    photos, labels = (torch.from_numpy(np.stack(part)) for part in zip(*views))
    return photos.permute(0, 3, 1, 2), labels


def _view(
    labelled: Sequence[Labelled], classes: int, settings: NetworkSettings, k: int
) -> tuple[np.ndarray, np.ndarray]:
    epoch, place = divmod(k, len(labelled))
    one = labelled[int(_order(settings.seed, epoch, len(labelled))[place])]
    mask = one.mask()
    if mask[mask != IGNORE].max(initial=0) >= classes:
        raise BadInput(f"{one.name}: its mask holds {mask[mask != IGNORE].max()}, and there are {classes} classes")
    photo = open_photo(one.photo).array
    rng = np.random.default_rng([settings.seed, 2, k])
    return augmented(photo, mask, settings.side, rng, scales=settings.scales, flip=settings.flip)


def _side_of(photo: Any) -> int:
    """The longer side of a photo as a network may be fed it."""
    longest = min(_MOST_SIDE, max(open_photo(photo).hw))
    return max(STRIDE, round(longest / STRIDE) * STRIDE)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    """In what order an epoch goes through the photos."""
    return np.random.default_rng([seed, 1, epoch]).permutation(count)
