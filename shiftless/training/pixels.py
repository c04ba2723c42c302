"""Fitting a pixel ensemble on labelled pixels: all members in one loop, each with batches of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

from shiftless.amalgamate.gate import strength
from shiftless.errors import BadInput
from shiftless.noise import seeded
from shiftless.progress import reporting
from shiftless.recipe import Recipe
from shiftless.tasks.members import MemberGate, MemberNorm
from shiftless.tasks.pixels import PixelEnsemble, Source
from shiftless.tasks.pixelsample import PixelSample

EPOCHS = 4
"""Passes through the pixels before a member may stop (as published)."""
PATIENCE = 50
"""Batches in a row without a better loss, past these passes, after which a member stops (as published)."""
MOST_EPOCHS = 100


@dataclass(frozen=True, eq=False)
class FittedPixels:
    """A trained ensemble and how it got there.

    head     in eval mode, on the CPU
    steps    at which each member stopped
    history  a row every hundred steps: step, loss (mean over members and steps), training (members not yet stopped)
    seconds  that training took
    """

    head: PixelEnsemble
    steps: tuple[int, ...]
    history: list[dict[str, Any]] = field(repr=False)
    seconds: float
    seed: int


def fit_pixels(
    sample: PixelSample,
    classes: Sequence[str],
    *,
    members: int = 10,
    gated: bool = True,
    hidden: int = 128,
    layers: Sequence[int] | None = None,
    standardise: bool = True,
    palette: Sequence[Sequence[int]] | None = None,
    recipes: Sequence[Recipe] = (),
    seed: int = 0,
    batch: int = 64,
    lr: float = 1e-3,
    epochs: int = EPOCHS,
    patience: int = PATIENCE,
    most_epochs: int = MOST_EPOCHS,
    peak: float = 0.0,
    ramp: float = 0.0,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> FittedPixels:
    """Train an ensemble of pixel classifiers; the same seed gives the same ensemble.

    classes       names; a pixel's label is its class's place. A class without a pixel is never predicted for sure, but
                  keeps its place
    members, gated, hidden, layers  as PixelEnsemble takes them
    standardise   scale each channel by its mean and deviation first; off is as published
    batch, lr     pixels a step and member, and Adam's rate, as published
    epochs, patience, most_epochs  a member stops when, past `epochs` passes, its batch's loss was not better than its
                  best for `patience` batches in a row, and at the latest after `most_epochs` passes
    peak, ramp    strength of the term that rewards peaked weights of the readings, and over which share of the first
                  `epochs` passes it grows; off by default

    Raises BadInput for labels without a class and for settings that make no sense.
    Source: Baranchuk et al., ICLR 2022, section 4; GATE, NeurIPS 2024.

    >>> from shiftless.amalgamate.layout import Layout
    >>> from shiftless.tasks.pixelgroups import PixelGroups
    >>> labels = torch.arange(60) % 2
    >>> features = torch.randn(60, 2, 8) + 3 * labels[:, None, None]
    >>> pixels = PixelSample(PixelGroups((Layout(2, (("up1", 8),)),)), (features,), labels, torch.zeros(60).long())
    >>> fitted = fit_pixels(pixels, ["background", "horse"], members=3, batch=20, epochs=20, patience=5)
    >>> bool((fitted.head([features]).argmax(-1) == labels).float().mean() > 0.9)
    True
    """
    _check(sample, classes, batch, epochs, patience, most_epochs)
    began = time.perf_counter()
    device = torch.device(device)
    sources = [Source(one.model, one.fingerprint, one.adapters) for one in sample.origins]
    with seeded(seed, device):
        head = PixelEnsemble(
            sample.groups, classes, members, gated, hidden, layers, sources, palette, sample.names, recipes
        )
        if standardise:
            head.standardise(sample.features)
        head.to(device).train()
        optimiser = torch.optim.Adam(head.parameters(), lr=lr, fused=device.type in ("cpu", "cuda"))
        stop = _Stopping(head, patience)
        history: list[dict[str, Any]] = []
        losses: list[float] = []
        an_epoch = -(-len(sample) // batch)
        doing = f"fitting {members} classifiers on {len(sample):,} pixels"
        with reporting(progress, doing, epochs * an_epoch, "step") as report:
            for step, rows in enumerate(_batches(len(sample), members, batch, most_epochs, seed), 1):
                optimiser.zero_grad(set_to_none=True)
                shown = [one[rows].to(device) for one in sample.features]
                each, penalty = _losses(head, shown, sample.labels[rows].to(device), peak)
                factor = strength(1.0, step / max(1, epochs * an_epoch), ramp)
                (each.sum() + factor * penalty).backward()
                optimiser.step()
                values = each.detach().cpu()
                losses.append(float(values.mean()))
                if step <= epochs * an_epoch:
                    report(1)
                if step > epochs * an_epoch:
                    stop.look(step, values)
                if step % 100 == 0 or stop.done:
                    left = members - len(stop.steps)
                    history.append({"step": step, "loss": sum(losses) / len(losses), "training": left})
                    losses = []
                if stop.done:
                    break
        stop.restore(step)
    steps = tuple(stop.steps.get(member, step) for member in range(members))
    return FittedPixels(head.eval().cpu(), steps, history, time.perf_counter() - began, seed)


def _losses(
    head: PixelEnsemble, shown: list[torch.Tensor], labels: torch.Tensor, peak: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each member's cross-entropy, M, and the term that rewards peaked weights, summed over members."""
    logits = head(shown)
    each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape).mean(1)
    penalty = each.new_zeros(())
    if peak:
        for gate, readings in zip(head.gates, head.standardised(shown)):
            if isinstance(gate, MemberGate):
                penalty = penalty - peak * torch.linalg.vector_norm(gate.weights(readings), dim=2).mean((1, 2)).sum()
    return each, penalty


def _batches(pixels: int, members: int, batch: int, epochs: int, seed: int) -> Iterator[torch.Tensor]:
    """Rows M B of each step: every member goes through all pixels in an order of its own, epoch after epoch."""
    order = torch.Generator().manual_seed(seed)
    batch = min(batch, pixels)
    for _ in range(epochs):
        rows = torch.stack([torch.randperm(pixels, generator=order) for _ in range(members)])
        if short := -pixels % batch:  # batch norm needs whole batches
            rows = torch.cat([rows, rows[:, :short]], 1)
        yield from rows.split(batch, 1)


class _Stopping:
    """Which members have stopped, and the weights that each had then."""

    def __init__(self, head: PixelEnsemble, patience: int) -> None:
        self.head, self.patience = head, patience
        self.best = torch.full((head.members,), torch.inf)
        self.waited = torch.zeros(head.members, dtype=torch.long)
        self.steps: dict[int, int] = {}
        self.kept: dict[int, list[torch.Tensor]] = {}

    @property
    def done(self) -> bool:
        return len(self.steps) == self.head.members

    def look(self, step: int, losses: torch.Tensor) -> None:
        better = losses < self.best
        self.best = torch.minimum(self.best, losses)
        self.waited = torch.where(better, 0, self.waited + 1)
        for member in (self.waited > self.patience).nonzero()[:, 0].tolist():
            if member not in self.steps:
                self.steps[member] = step
                self.kept[member] = [one[member].clone() for one in self._values()]

    def restore(self, step: int) -> None:
        """Give each member that stopped before the last step the weights that it had then."""
        with torch.no_grad():
            for member, kept in self.kept.items():
                for one, value in zip(self._values(), kept):
                    one[member].copy_(value)

    def _values(self) -> list[torch.Tensor]:
        """Every tensor that differs between members, members first."""
        m = self.head.members
        values = []
        for module in (*self.head.gates.modules(), *self.head.classifiers.modules()):
            own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
            if isinstance(module, MemberNorm):
                own = [one.view(m, -1) for one in own if one.ndim]  # not the count of batches
            values += [one.detach() for one in own]
        return values


def _check(
    sample: PixelSample, classes: Sequence[str], batch: int, epochs: int, patience: int, most_epochs: int
) -> None:
    if int(sample.labels.max()) >= len(classes):
        raise BadInput(f"a pixel is labelled {int(sample.labels.max())}, and there are {len(classes)} classes")
    if batch < 2 or len(sample) < 2 or min(patience, most_epochs) < 1 or epochs < 0:
        raise BadInput(
            f"{len(sample)} pixels, batch={batch}, epochs={epochs}, patience={patience}, most_epochs={most_epochs}: "
            "give at least two pixels a batch, and one epoch"
        )
