"""CorrespondenceHead: a bucket of readings in, one map to match with out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import nn

from shiftless.amalgamate.gate import Gate
from shiftless.amalgamate.hyper import Hyper
from shiftless.amalgamate.layout import Layout
from shiftless.amalgamate.saved import Saved
from shiftless.amalgamate.simple import Concat, Mean
from shiftless.errors import BadInput
from shiftless.features import Bucket, FeatureMaps
from shiftless.image import Frame
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap

AMALGAMATORS = ("gate", "gate-pixel", "hyper", "mean", "concat")


class CorrespondenceHead(Saved):
    """Merge K readings, join the attention maps, and, with `conv`, mix neighbours by one 3x3 convolution.

    layout       what its buckets hold (a Layout, or its plain values)
    amalgamator  one of AMALGAMATORS; `options` are its own further arguments
    conv         the output convolution, without bias; it starts as the identity, so that training begins with the
                 merged map and a small budget suffices (the papers' codes start it at random)
    recipes      of the K readings, then of those joined as attention maps: the order of its buckets

    Raises BadInput for an unknown amalgamator and buckets of other readings, taps or channels.
    Source: GATE, NeurIPS 2024, section on semantic correspondence.

    >>> head = CorrespondenceHead(Layout(2, (("up1", 8),), ((("map", 3),),)), conv=True)
    >>> head(torch.randn(2, 1, 8, 4, 6), torch.randn(1, 3, 4, 6)).shape
    torch.Size([1, 11, 4, 6])
    """

    kind = "correspondence"

    def __init__(
        self,
        layout: Layout | dict[str, Any],
        amalgamator: str = "gate",
        conv: bool = False,
        options: dict[str, Any] | None = None,
        recipes: Sequence[Recipe] = (),
    ) -> None:
        layout = layout if isinstance(layout, Layout) else Layout.from_dict(layout)
        options = dict(options or {})
        super().__init__(
            {"layout": layout.to_dict(), "amalgamator": amalgamator, "conv": conv, "options": options}, recipes
        )
        self.layout, self.amalgamator = layout, amalgamator
        self.merge = _amalgamator(amalgamator, layout, options)
        self.out_channels = self.merge.out_channels + layout.attention_channels
        self.out = None
        if conv:
            self.out = nn.Conv2d(self.out_channels, self.out_channels, 3, padding=1, bias=False)
            nn.init.dirac_(self.out.weight)

    def forward(self, readings: torch.Tensor, attention: torch.Tensor | None = None) -> torch.Tensor:
        """Return the map to match with, B D H W, of readings K B C H W and attention maps B A H W."""
        return self.joined(self.merge(readings), attention)

    def joined(self, merged: torch.Tensor, attention: torch.Tensor | None = None) -> torch.Tensor:
        """Return B D H W of a merged map: the attention maps joined, and the output convolution if there is one."""
        if attention is not None and attention.shape[1]:
            merged = torch.cat([merged, attention.to(merged.dtype)], 1)
        if merged.shape[1] != self.out_channels:
            raise BadInput(f"{merged.shape[1]} channels: this head makes {self.out_channels}; give the attention maps")
        return merged if self.out is None else self.out(merged)

    def apply_to(self, readings: torch.Tensor, attention: torch.Tensor, frame: Frame, name: str) -> FeatureMaps:
        """Return the features of one image whose tensors are at hand: K C H W and A H W."""
        training, place = self.training, next(chain(self.parameters(), self.buffers()), torch.empty(0)).device
        self.eval()
        try:
            with torch.no_grad():
                dense = self(readings[:, None].to(place).float(), attention[None].to(place).float())
        finally:
            self.train(training)
        stride = max(1, round(frame.fed[0] / dense.shape[-2]))
        tap = Tap(self.amalgamator, self.out_channels, stride, "")
        recipe = self.recipes[0] if self.recipes else Recipe()
        return FeatureMaps({tap.name: dense}, {tap.name: tap}, frame, recipe, name)

    def merge_bucket(self, bucket: Bucket) -> FeatureMaps:
        """Turn a Bucket into FeatureMaps of one tap, named as the amalgamator, ready for `shiftless.match`.

        The bucket's readings stand in the order of `recipes`.

        >>> from shiftless.features import Bucket
        >>> up1, frame = Tap("up1", 8, 8, ""), Frame(original=(64, 96), fed=(32, 48))
        >>> maps = FeatureMaps({"up1": torch.rand(1, 8, 4, 6)}, {"up1": up1}, frame)
        >>> CorrespondenceHead(Layout(2, (("up1", 8),))).merge_bucket(Bucket((maps, maps)))
        FeatureMaps(image, 96x64 pixels read as 48x32: gate 8x4x6 stride 8)
        """
        first = bucket[0]
        return replace(self.apply_to(*self.layout.tensors(bucket), first.frame, first.name), origin=first.origin)


def _amalgamator(name: str, layout: Layout, options: dict[str, Any]) -> Saved:
    try:
        if name == "gate":
            return Gate(layout.channels, **options)
        if name == "gate-pixel":
            return Gate(layout.channels, level="pixel", **options)
        if name == "hyper":
            return Hyper([c for _, c in layout.taps], layout.readings, **options)
        if name == "mean":
            return Mean(layout.channels, **options)
        if name == "concat":
            return Concat(layout.readings, layout.channels, **options)
    except TypeError as error:
        raise BadInput(f"amalgamator {name!r}: {error}") from None
    raise BadInput(f"amalgamator={name!r}: must be one of {', '.join(AMALGAMATORS)}")
