"""PixelEnsemble: what every pixel of a photo shows, by the vote of small classifiers on its features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from shiftless.amalgamate.saved import Saved
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.header import Origin
from shiftless.recipe import Recipe
from shiftless.tasks.members import MemberGate, MemberMLP
from shiftless.tasks.parts import Parts
from shiftless.tasks.pixelgroups import PixelGroups, unit_grid

_LONGEST = 20_000  # characters of photos' names that a head keeps
_ROWS = 4096  # pixels whose statistics are taken at once
_VALUES = 1 << 22  # of the largest tensor that predicting makes: 16 MB, less than what is mapped anew each time


@dataclass(frozen=True)
class Source:
    """The model that read one of a head's buckets, by what identifies it.

    >>> Source("mini", "1f").origin.model
    'mini'
    """

    model: str
    fingerprint: str = ""
    adapters: tuple[tuple[str, str], ...] = ()

    @property
    def origin(self) -> Origin:
        """As the origin of features, to compare with others."""
        return Origin(model=self.model, fingerprint=self.fingerprint, adapters=self.adapters)

    def to_list(self) -> list[Any]:
        """Return plain values, as `source_of` takes them."""
        return [self.model, self.fingerprint, [list(one) for one in self.adapters]]


def source_of(values: Sequence[Any]) -> Source:
    """Read what `Source.to_list` gave, also after a way through JSON.

    >>> source_of(["mini", "1f", [["lora a", "5e"]]]).adapters
    (('lora a', '5e'),)
    """
    model, fingerprint, adapters = values
    return Source(str(model), str(fingerprint), tuple((str(a), str(b)) for a, b in adapters))


class PixelEnsemble(Saved):
    """Classify pixels by their features, with M members that each hold a weight assigner and a small network.

    groups   what a photo's buckets hold (a PixelGroups, or its plain values)
    classes  their names
    members  M, how many; each is trained on its own batches
    gated    weigh the readings of each group by a pixel-level weight assigner (GATE); else their mean is taken
    hidden   width of the assigners
    layers   widths of the classifiers' two hidden layers; None is as published, (128, 32), or (256, 128) for 30 classes
    sources  the models that read the buckets, one for each
    palette  colours of the classes, L 3, for pictures
    photos   names of the photos that it learned from, as far as they are not too many to keep
    recipes  of all readings, bucket after bucket

    Features are standardised, each channel by its mean and deviation over the training pixels (`standardise`).
    Raises BadInput for fewer than two classes, and for a number of sources that is not that of the buckets.
    Source: Baranchuk et al., ICLR 2022; with the assigners of GATE, NeurIPS 2024.

    >>> from shiftless.amalgamate.layout import Layout
    >>> groups = PixelGroups((Layout(4, (("up1", 8),)),))
    >>> head = PixelEnsemble(groups, ["background", "head", "leg"], members=3)
    >>> head([torch.randn(5, 4, 8)]).shape
    torch.Size([3, 5, 3])
    """

    kind = "pixels"

    def __init__(
        self,
        groups: PixelGroups | list[dict[str, Any]],
        classes: Sequence[str],
        members: int = 10,
        gated: bool = True,
        hidden: int = 128,
        layers: Sequence[int] | None = None,
        sources: Sequence[Source | Sequence[Any]] = (),
        palette: Sequence[Sequence[int]] | None = None,
        photos: Sequence[str] = (),
        recipes: Sequence[Recipe] = (),
    ) -> None:
        groups = groups if isinstance(groups, PixelGroups) else PixelGroups.from_dict(groups)
        named = [one if isinstance(one, Source) else source_of(one) for one in sources]
        if len(classes) < 2 or members < 1:
            raise BadInput(f"{len(classes)} classes and {members} members: give at least two classes and one member")
        if named and len(named) != len(groups.layouts):
            raise BadInput(f"{len(named)} models for {len(groups.layouts)} buckets: give one for each")
        settings: dict[str, Any] = {
            "groups": groups.to_dict(),
            "classes": list(classes),
            "members": members,
            "gated": gated,
            "hidden": hidden,
            "layers": None if layers is None else list(layers),
            "sources": [one.to_list() for one in named],
            "photos": list(photos) if sum(map(len, photos)) < _LONGEST else [],
            "palette": None if palette is None else [[int(v) for v in colour] for colour in palette],
        }
        super().__init__(settings, recipes)
        self.groups, self.classes, self.members, self.sources = groups, tuple(classes), members, tuple(named)
        self.photos: tuple[str, ...] = tuple(settings["photos"])
        self.palette: list[list[int]] | None = settings["palette"]
        sizes = groups.groups
        self.out_channels = len(classes)
        self.gates = nn.ModuleList(
            MemberGate(members, c, hidden) if gated and k > 1 else nn.Identity() for k, c in sizes
        )
        widths = None if layers is None else (int(layers[0]), int(layers[1]))
        self.classifiers = MemberMLP(members, sum(c for _, c in sizes), len(classes), widths)
        for i, (_, c) in enumerate(sizes):
            self.register_buffer(f"mean{i}", torch.zeros(c))
            self.register_buffer(f"scale{i}", torch.ones(c))

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return logits M N L of features in groups N K C, the same for all members, or M N K C."""
        return self.classifiers(self.merged(features))

    def merged(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return what the classifiers take, M N C or 1 N C: each group standardised, merged, and joined."""
        parts = []
        for gate, readings in zip(self.gates, self.standardised(features)):
            parts.append(gate(readings) if isinstance(gate, MemberGate) else readings.mean(2))
        members = max(len(part) for part in parts)
        return torch.cat([part.expand(members, -1, -1) for part in parts], -1)

    def standardised(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return each group with its channels scaled: 1 N K C of N K C, M N K C of M N K C."""
        if len(features) != len(self.groups.groups):
            raise BadInput(f"{len(features)} groups of features; this head takes {len(self.groups.groups)}")
        scaled = []
        for i, (one, (k, c)) in enumerate(zip(features, self.groups.groups)):
            if one.shape[-2:] != (k, c):
                raise BadInput(f"group {i} of shape {tuple(one.shape)}: give N {k} {c}")
            readings = one if one.ndim == 4 else one[None]
            scaled.append((readings.float() - getattr(self, f"mean{i}")) * getattr(self, f"scale{i}"))
        return scaled

    @torch.no_grad()
    def standardise(self, features: Sequence[torch.Tensor]) -> PixelEnsemble:
        """Take mean and deviation of each channel from training pixels, in groups N K C."""
        for i, one in enumerate(features):
            rows = one.flatten(0, 1)
            mean = sum(part.float().sum(0) for part in rows.split(_ROWS)) / len(rows)
            square = sum((part.float() - mean).square().sum(0) for part in rows.split(_ROWS)) / len(rows)
            deviation = square.sqrt()
            getattr(self, f"mean{i}").copy_(mean)
            getattr(self, f"scale{i}").copy_(torch.where(deviation > 1e-6, 1 / deviation.clamp_min(1e-6), 1.0))
        return self

    def check_origins(self, buckets: Sequence[Sequence[FeatureMaps]]) -> None:
        """Raise BadInput for features of another model, or of adapters with other contents, than the head's."""
        for source, bucket in zip(self.sources, buckets):
            for maps in bucket:
                if conflict := source.origin.conflict(maps.origin):
                    raise BadInput(f"{maps.name}: the head was fitted on, and the photo read with, {conflict}")

    @torch.no_grad()
    def predict(
        self,
        buckets: Sequence[Sequence[FeatureMaps]],
        *,
        side: int | None = 256,
        size: tuple[int, int] | None = None,
    ) -> Parts:
        """Say what each pixel of a photo shows, from its buckets, one for each model.

        side  cells along the longer side of the grid that pixels are classified on; never more than the photo's pixels.
              None classifies every pixel
        size  (H, W) of the answer; by default the photo's own

        Raises BadInput for features of other readings, taps, channels, or of another model.

        >>> from shiftless.image import Frame
        >>> from shiftless.taps.names import Tap
        >>> up1, frame = Tap("up1", 8, 8, ""), Frame(original=(30, 40), fed=(32, 32))
        >>> maps = FeatureMaps({"up1": torch.randn(1, 8, 4, 4)}, {"up1": up1}, frame)
        >>> head = PixelEnsemble(PixelGroups.of([[maps]]), ["background", "horse"], members=3)
        >>> head.predict([[maps]]).mask.shape
        (30, 40)
        """
        if not buckets:
            raise BadInput("no readings were given; give one bucket for each model")
        self.groups.check(buckets)
        self.check_origins(buckets)
        first = buckets[0][0]
        hw = size or first.frame.original
        grid = hw if side is None or max(hw) <= side else _grid(hw, side)
        training = self.training
        self.eval()
        try:
            rows = [(*Parts.counted(self(read)), self._sums(read)) for read in self._pixels(buckets, grid)]
        finally:
            self.train(training)
        votes, entropy, sums = zip(*rows)
        descriptor = (torch.stack(sums).sum(0) / (grid[0] * grid[1])).cpu().numpy()
        parts = Parts.on(grid, torch.cat(votes).T, torch.cat(entropy).T, hw, first.name)
        return replace(parts, descriptor=descriptor)

    def _sums(self, read: Sequence[torch.Tensor]) -> torch.Tensor:
        """Standardised features summed over pixels, meant over readings: D."""
        return torch.cat([one[0].mean(1).sum(0) for one in self.standardised(read)])

    def _pixels(self, buckets: Sequence[Sequence[FeatureMaps]], grid: tuple[int, int]) -> Iterator[list[torch.Tensor]]:
        """Features of the grid's pixels, some at a time."""
        place = next(self.parameters()).device
        units = unit_grid(grid)
        widest = max(*(k * c for k, c in self.groups.groups), *self.classifiers.widths)
        step = max(256, _VALUES // (self.members * widest))
        for start in range(0, len(units), step):
            read = self.groups.at(buckets, units[start : start + step])
            yield [one.to(place) for one in read]


def _grid(hw: tuple[int, int], side: int) -> tuple[int, int]:
    return tuple(max(1, round(n * side / max(hw))) for n in hw)  # type: ignore[return-value]
