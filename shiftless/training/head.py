"""Fitting a correspondence head from kept features, with early stopping on validation pairs."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from shiftless.amalgamate.gate import Gate, sparsity, strength
from shiftless.backbones.device import trains_in_bf16
from shiftless.errors import BadInput
from shiftless.metrics.pck import hits
from shiftless.noise import seeded
from shiftless.progress import track
from shiftless.recipe import Recipe
from shiftless.tasks.contrast import NEGATIVES, pair_loss
from shiftless.tasks.correspondence import match
from shiftless.tasks.head import CorrespondenceHead
from shiftless.tasks.pairfeatures import KeptPair, PairFeatures, Side


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained head and how it got there.

    head     as it was at `best`, in eval mode
    history  a row for each look at the validation pairs: step, loss (mean since the last look; None at step 0), pck
    best     the step with the best validation PCK (the last step if there were no validation pairs)
    seconds  that training took
    """

    head: CorrespondenceHead
    history: list[dict[str, Any]] = field(repr=False)
    best: int
    seconds: float
    seed: int


def fit(
    train: PairFeatures,
    validation: PairFeatures | None = None,
    *,
    amalgamator: str = "gate",
    conv: bool = False,
    options: dict[str, Any] | None = None,
    recipes: Sequence[Recipe] = (),
    seed: int = 0,
    steps: int = 1000,
    batch: int = 1,
    lr: float = 5e-4,
    weight_decay: float = 0.01,
    negatives: str = "grid",
    peak: float = 0.0,
    ramp: float = 0.0,
    every: int | None = None,
    patience: int | None = 3,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> Fitted:
    """Train a head on pairs for at most `steps` steps of `batch` pairs; the same seed gives the same head.

    amalgamator, conv, options  as CorrespondenceHead takes them
    recipes       what the readings were read with, to be saved with the head
    lr, weight_decay  of AdamW; the defaults, and one pair a step, are as published
    negatives     what a point is told apart from, as in `pair_loss`
    peak, ramp    strength of the gate's sparsity term, and over which share of training it grows; off by default
    every         steps between looks at the validation pairs (once through the training pairs)
    patience      looks without a better PCK before training stops; None never stops early

    The validation score is PCK@0.1 as `shiftless.match` finds it, in eval mode, by the target's box where there is
    one. Step 0 counts as well: a head that training only harms comes back untrained. An amalgamator with nothing to
    learn, without a convolution, comes back at once; a "concat" with components is fitted on the training readings.

    Raises BadInput for settings that make no sense and layouts that differ.
    Source: GATE, NeurIPS 2024, section on semantic correspondence.

    >>> from shiftless.features import Bucket, FeatureMaps
    >>> from shiftless.image import Frame
    >>> from shiftless.taps.names import Tap
    >>> tap, frame = {"up1": Tap("up1", 8, 8, "")}, Frame((32, 32), (32, 32))
    >>> bucket = Bucket(tuple(FeatureMaps({"up1": torch.rand(1, 8, 4, 4)}, tap, frame) for _ in range(2)))
    >>> kept = PairFeatures.gather([(bucket, bucket, [(4, 4), (20, 12)], [(4, 4), (20, 12)])])
    >>> fitted = fit(kept, kept, conv=True, steps=2)
    >>> fitted.head.merge_bucket(bucket), [row["step"] for row in fitted.history]
    (FeatureMaps(image, 32x32 pixels read as 32x32: gate 8x4x4 stride 8), [0, 1, 2])
    """
    _check(train, validation, steps, batch, negatives, every, patience)
    began = time.perf_counter()
    device = torch.device(device)
    with seeded(seed, device):
        head = CorrespondenceHead(train.layout, amalgamator, conv, options, recipes)
        if amalgamator == "concat":
            _fit_axes(head, train)
        head.to(device)
        learning = [p for p in head.parameters() if p.requires_grad]
        steps = steps if learning else 0
        every = every or max(1, -(-len(train) // batch))
        history: list[dict[str, Any]] = []
        best, kept = _Best(), copy.deepcopy(head.state_dict())
        if validation is not None:
            best.better(0, pck(head, validation))
            history.append({"step": 0, "loss": None, "pck": best.score})
        optimiser = torch.optim.AdamW(learning, lr=lr, weight_decay=weight_decay, fused=True) if learning else None
        losses: list[float] = []
        for step, part in enumerate(_shown(_batches(train, batch, steps, seed), steps, seed, progress), 1):
            assert optimiser is not None
            head.train()
            optimiser.zero_grad(set_to_none=True)
            loss = _loss(head, part, negatives, strength(peak, step / steps, ramp), device)
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
            if step % every and step != steps:
                continue
            score = None if validation is None else pck(head, validation)
            history.append({"step": step, "loss": sum(losses) / len(losses), "pck": score})
            losses = []
            if score is None:
                continue
            if best.better(step, score):
                kept = copy.deepcopy(head.state_dict())
            elif patience is not None and best.waited >= patience:
                break
    if validation is not None:
        head.load_state_dict(kept)
    stopped = best.step if validation is not None else steps
    return Fitted(head.eval().cpu(), history, stopped, time.perf_counter() - began, seed)


def fit_seeds(
    train: PairFeatures, validation: PairFeatures | None = None, *, seeds: Sequence[int] = (0, 1, 2), **settings: Any
) -> list[Fitted]:
    """Train one head a seed, with equal settings; arguments and errors as in `fit`."""
    return [fit(train, validation, seed=seed, **settings) for seed in seeds]


def pck(head: CorrespondenceHead, pairs: PairFeatures, alpha: float = 0.1) -> float:
    """Return the head's pooled PCK on kept pairs, in [0, 1]: nearest neighbour at the size the model was fed."""
    right = total = 0
    for pair in pairs.pairs:
        sides = (pair.source, pair.target)
        a, b = (head.apply_to(side.readings, side.attention, side.frame, side.name) for side in sides)
        predicted = match(a, b, pair.source_points).points
        right += int(hits(predicted, pair.target_points, pair.box or pair.target.frame.original, alpha).sum())
        total += len(predicted)
    return right / total


class _Best:
    """The best score so far, when it was, and for how many looks nothing better came."""

    def __init__(self) -> None:
        self.score, self.step, self.waited = -1.0, 0, 0

    def better(self, step: int, score: float) -> bool:
        if score > self.score:
            self.score, self.step, self.waited = score, step, 0
            return True
        self.waited += 1
        return False


def _loss(
    head: CorrespondenceHead, part: Sequence[KeptPair], negatives: str, factor: float, device: torch.device
) -> torch.Tensor:
    """Mean loss of some pairs; photos of equal grids go through the head together."""
    sides = [side for pair in part for side in (pair.source, pair.target)]
    maps: dict[int, torch.Tensor] = {}
    penalties: list[torch.Tensor] = []
    groups: dict[torch.Size, list[Side]] = {}
    for side in sides:
        groups.setdefault(side.readings.shape, []).append(side)
    for group in groups.values():
        readings = torch.stack([side.readings for side in group], 1).to(device)
        attention = torch.stack([side.attention for side in group]).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=trains_in_bf16(device)):
            if isinstance(head.merge, Gate) and factor:
                merged, weights = head.merge.amalgamate(readings)
                penalties.append(factor * sparsity(weights))
                dense = head.joined(merged, attention)
            else:
                dense = head(readings, attention)
        maps |= {id(side): one for side, one in zip(group, dense)}
    losses = [pair_loss(maps[id(p.source)], maps[id(p.target)], *p.units, negatives) for p in part]
    return torch.stack(losses).mean() + (torch.stack(penalties).mean() if penalties else 0.0)


def _batches(train: PairFeatures, batch: int, steps: int, seed: int) -> Iterator[list[KeptPair]]:
    order = torch.Generator().manual_seed(seed)
    waiting: list[int] = []
    for _ in range(steps):
        while len(waiting) < batch:
            waiting += torch.randperm(len(train), generator=order).tolist()
        chosen, waiting = waiting[:batch], waiting[batch:]
        yield [train.pairs[i] for i in chosen]


def _fit_axes(head: CorrespondenceHead, train: PairFeatures) -> None:
    cells = [side.readings.flatten(2)[..., ::7].float() for side in train.sides()]  # every 7th cell: enough, and small
    head.merge.fit(torch.cat(cells, 2)[:, None, :, :, None])  # type: ignore[operator]  # a Concat, by its name


def _check(
    train: PairFeatures, validation: PairFeatures | None, steps: int, batch: int, negatives: str, *counts: int | None
) -> None:
    if validation is not None and validation.layout != train.layout:
        raise BadInput("validation pairs have another layout than training pairs; gather both with the same settings")
    if not len(train) or (validation is not None and not len(validation)):
        raise BadInput("no pairs: give at least one to train on, and one to validate on or None")
    if min(steps, batch, *(c for c in counts if c is not None)) < 1:
        raise BadInput(f"steps={steps}, batch={batch}, every and patience={counts}: all must be at least 1")
    if negatives not in NEGATIVES:
        raise BadInput(f"negatives={negatives!r}: must be one of {', '.join(NEGATIVES)}")


def _shown(items: Iterator[Any], total: int, seed: int, progress: bool) -> Iterator[Any]:
    doing = f"fitting the head, seed {seed}, at most"
    return track(items, doing, total, "step") if progress and total else items
