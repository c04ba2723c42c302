"""How a scene head is trained: the published settings, and what may be changed of them."""

from __future__ import annotations

from dataclasses import dataclass

from shiftless.errors import BadInput


@dataclass(frozen=True)
class SceneSettings:
    """How a scene head is trained; the defaults are GATE's for ADE20K.

    steps, batch  of training; views a step
    side          pixels of a view, to which the shorter side of a photo is scaled; 1024 is published for Cityscapes
    scales        a view shows the photo's shorter side divided by a factor between these
    flip          mirror half of the views; leave it off for classes that tell left from right
    colour        vary brightness, contrast, saturation and hue, of photos that are read for every view
    most          share of a view's labelled pixels that one class may have, if ten tries find such a view
    lr, least_lr  AdamW's rate falls from the first to the second as (1 - step / steps) ** power
    warmup        steps in which the rate grows to its value, linearly from a millionth
    weight_decay  of all weights
    lovasz        how much the Lovász-softmax loss counts beside the cross-entropy; 0 leaves it out
    auxiliary     how much the auxiliary head's cross-entropy counts
    every         steps between two looks at the validation photos, each with a checkpoint
    seed          of weights, order, views and dropout

    Raises BadInput for settings that make no sense.

    >>> SceneSettings(steps=100).rate(0), SceneSettings(steps=100).rate(100)
    (0.00016, 0.0001)
    """

    steps: int = 80_000
    batch: int = 2
    side: int = 512
    scales: tuple[float, float] = (0.5, 2.0)
    flip: bool = True
    colour: bool = True
    most: float = 0.75
    lr: float = 1.6e-4
    least_lr: float = 1e-4
    power: float = 0.9
    warmup: int = 0
    weight_decay: float = 1e-3
    lovasz: float = 1.0
    auxiliary: float = 0.4
    every: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.every) < 1 or self.seed < 0:
            raise BadInput(
                f"steps={self.steps}, batch={self.batch}, every={self.every}, seed={self.seed}: give at least 1, and a "
                "seed of 0 or more"
            )
        if self.side < 8:
            raise BadInput(f"side={self.side}: views have 8 pixels or more")
        low, high = self.scales
        if not 0 < low <= high or not 0 < self.most <= 1:
            raise BadInput(
                f"scales={low:g} to {high:g}, most={self.most:g}: give factors above 0, the smaller first, and a share"
            )
        if not 0 <= self.least_lr <= self.lr or not self.lr > 0 or min(self.weight_decay, self.power, self.warmup) < 0:
            raise BadInput(
                f"lr={self.lr:g}, least_lr={self.least_lr:g}, weight_decay={self.weight_decay:g}, "
                f"power={self.power:g}, warmup={self.warmup}: give a rate above 0 that falls, and no negative number"
            )
        if min(self.lovasz, self.auxiliary) < 0:
            raise BadInput(f"lovasz={self.lovasz:g}, auxiliary={self.auxiliary:g}: give 0 or more")

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        left = float((1 - step / self.steps) ** self.power)
        grown = 1.0 if step >= self.warmup else max(1e-6, step / self.warmup)
        return grown * (self.least_lr + (self.lr - self.least_lr) * left)
