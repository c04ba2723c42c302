"""SceneHead: what every pixel of a photo shows, by one network on the levels of its features."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from shiftless.amalgamate.gate import Gate
from shiftless.amalgamate.saved import WEIGHTS, Saved
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.metrics.segmentation import MOST_CLASSES
from shiftless.recipe import Recipe
from shiftless.tasks.decoders import LinearDecoder, PyramidDecoder
from shiftless.tasks.levels import Levels
from shiftless.tasks.parts import Parts
from shiftless.tasks.pixels import Source, source_of
from shiftless.tasks.upernet import POOL_SCALES, UperNet

if TYPE_CHECKING:
    from shiftless.tasks.mask2former import Proposals

MASKS = "mask2former"
DECODERS = ("upernet", "fpn", "linear", MASKS)
ORDERS = ("fine", "coarse")


class SceneHead(Saved):
    """Merge K readings of each level by weights of their own, and decode the levels to classes.

    levels   what its buckets hold (a Levels, or its plain values)
    classes  their names
    decoder  "upernet" with an auxiliary head in training, "fpn" (a feature pyramid), "linear", or "mask2former", which
             proposes masks and classifies them
    width    channels inside, but for "linear"
    scales   cells along each side that UPerNet pools its last level to
    gated    weigh the readings of each level by an image-level weight assigner (GATE); else their mean is taken
    hidden   width of the assigners
    order    which level is the first, on whose grid the answer lies: the "fine"st, or the "coarse"st, as in the
             published code of GATE, which hands UPerNet its levels in the decoder's order
    window   pixels of the views that it was trained on, each read by itself; 0 if photos were read as a whole
    source   the model that read the buckets
    tuned    files beside it with what was tuned of that model, and the digests of their contents
    palette  colours of the classes, L 3, for pictures
    proposals  of "mask2former": queries, layers and words as MaskProposals takes them, and `clip`, the fingerprint of
             the CLIP whose embeddings of the classes' names it was trained with
    recipes  of the readings

    Raises BadInput for fewer than two classes or more than 255, and names that are none of these.
    Source: GATE, NeurIPS 2024, section on standard segmentation. Its residual blocks before and after the assigner,
    which begin at zero and learn no more than a bias for each channel, are left out.

    >>> levels = Levels(3, (("up0", 8, 16), ("up1", 4, 8)))
    >>> head = SceneHead(levels, ["sky", "road"], width=8).eval()
    >>> head([torch.randn(3, 1, 4, 8, 12), torch.randn(3, 1, 8, 4, 6)]).shape
    torch.Size([1, 2, 8, 12])
    """

    kind = "scenes"

    def __init__(
        self,
        levels: Levels | dict[str, Any],
        classes: Sequence[str],
        decoder: str = "upernet",
        width: int = 512,
        scales: Sequence[int] = POOL_SCALES,
        gated: bool = True,
        hidden: int = 128,
        order: str = "fine",
        window: int = 0,
        source: Source | Sequence[Any] | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        tuned: Mapping[str, str] | None = None,
        proposals: Mapping[str, Any] | None = None,
        recipes: Sequence[Recipe] = (),
    ) -> None:
        levels = levels if isinstance(levels, Levels) else Levels.from_dict(levels)
        named = source if source is None or isinstance(source, Source) else source_of(source)
        if not 2 <= len(classes) <= MOST_CLASSES:
            raise BadInput(f"{len(classes)} classes: a segmentation head takes 2 to {MOST_CLASSES}")
        for what, value, legal in (("decoder", decoder, DECODERS), ("order", order, ORDERS)):
            if value not in legal:
                raise BadInput(f"{what}={value!r}: must be one of {', '.join(legal)}")
        if decoder == MASKS and order != "fine":
            raise BadInput(f"order={order!r}: masks lie on the finest level; take order='fine' with '{MASKS}'")
        settings: dict[str, Any] = {
            "levels": levels.to_dict(),
            "classes": list(classes),
            "decoder": decoder,
            "width": width,
            "scales": list(scales),
            "gated": gated,
            "hidden": hidden,
            "order": order,
            "window": window,
            "source": None if named is None else named.to_list(),
            "palette": None if palette is None else [[int(v) for v in colour] for colour in palette],
            "tuned": dict(tuned or {}),
        }
        if decoder == MASKS:
            settings["proposals"] = dict(proposals or {})
        super().__init__(settings, recipes)
        self.levels, self.classes, self.source = levels, tuple(classes), named
        self.order, self.window = order, window
        self.tuned: dict[str, str] = settings["tuned"]
        self.palette: list[list[int]] | None = settings["palette"]
        self.out_channels = len(classes)
        several = gated and levels.readings > 1
        self.gates = nn.ModuleList(Gate(c, hidden=hidden) if several else nn.Identity() for c in levels.channels)
        channels = levels.channels if order == "fine" else levels.channels[::-1]
        if decoder == "upernet":
            self.decoder: nn.Module = UperNet(channels, len(classes), width, scales)
        elif decoder == MASKS:
            from shiftless.tasks.mask2former import MaskProposals

            own = {name: value for name, value in settings["proposals"].items() if name != "clip"}
            self.decoder = MaskProposals(channels, len(classes), width, **own)
        elif decoder == "fpn":
            self.decoder = PyramidDecoder(channels, len(classes), width)
        else:
            self.decoder = LinearDecoder(channels, len(classes))

    @staticmethod
    def is_at(place: str | os.PathLike[str]) -> bool:
        """Whether a path is a folder, or a file, of such a head.

        >>> SceneHead.is_at("head.safetensors")
        False
        """
        from safetensors import safe_open

        path = Path(place) / WEIGHTS if Path(place).is_dir() else Path(place)
        try:
            with safe_open(path, "pt") as file:
                return bool((file.metadata() or {}).get("shiftless") == SceneHead.kind)
        except Exception:  # whatever it is, it is none
            return False

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return logits B L H W of features in levels K B C h w, the finest first."""
        return self.answers(features)[0]

    def answers(self, features: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the logits, and those of the auxiliary head, on a grid of their own, where it has one and trains."""
        merged = self.merged(features)
        logits, auxiliary = self.decoder(merged if self.order == "fine" else merged[::-1])
        return logits, auxiliary

    def proposals(self, features: Sequence[torch.Tensor], words: torch.Tensor | None = None) -> Proposals:
        """Return the masks that a head of "mask2former" proposes; `words` L' D are names in the place of its own."""
        if self.settings["decoder"] != MASKS:
            raise BadInput(f"a head of {self.settings['decoder']} proposes no masks; train one with --head {MASKS}")
        decoder: Any = self.decoder
        found: Proposals = decoder.proposals(self.merged(features), words)
        return found

    def merged(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the levels with their readings merged, B C h w each; raises BadInput for features of another shape."""
        expected = [(self.levels.readings, c) for c in self.levels.channels]
        if [(one.shape[0], one.shape[2]) if one.ndim == 5 else None for one in features] != expected:
            shapes = ", ".join(str(tuple(one.shape)) for one in features)
            raise BadInput(f"features of shapes {shapes or 'none'}: give K B C h w with (K, C) of {expected}")
        return [gate(one) if isinstance(gate, Gate) else one.mean(0) for gate, one in zip(self.gates, features)]

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return next(chain(self.parameters(), self.buffers())).device

    @torch.no_grad()
    def logits(self, bucket: Sequence[FeatureMaps]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of one photo, 1 L h w, and the mean of its merged features, D: eval mode, float32.

        Raises BadInput for features of other readings, taps or channels, or of another model.
        """
        features = self.features(bucket)
        training = self.training
        self.eval()
        try:
            merged = self.merged(features)
            found = self.decoder(merged if self.order == "fine" else merged[::-1])[0]
        finally:
            self.train(training)
        return found.float(), torch.cat([one.float().mean((0, 2, 3)) for one in merged])

    def features(self, bucket: Sequence[FeatureMaps]) -> list[torch.Tensor]:
        """Return the levels K 1 C h w of one photo, on the head's device; raises BadInput as `logits` does."""
        features = [one[:, None].to(self.device) for one in self.levels.tensors(bucket)]
        self.check_origin(bucket)
        return features

    def predict(self, bucket: Sequence[FeatureMaps], *, size: tuple[int, int] | None = None) -> Parts:
        """Say what each pixel of a photo shows, from one bucket of the whole photo.

        size  (H, W) of the answer; by default the photo's own

        Logits are enlarged bilinearly; the uncertainty is the entropy of their softmax on their own grid, in nats, at
        most ln L. Raises BadInput as `logits` does.

        >>> from shiftless.image import Frame
        >>> from shiftless.taps.names import Tap
        >>> up1, frame = Tap("up1", 8, 8, ""), Frame(original=(30, 40), fed=(32, 32))
        >>> maps = FeatureMaps({"up1": torch.randn(1, 8, 4, 4)}, {"up1": up1}, frame)
        >>> SceneHead(Levels.of([maps]), ["background", "horse"], "linear").predict([maps]).mask.shape
        (30, 40)
        """
        found, descriptor = self.logits(bucket)
        first = bucket[0]
        return parts_of(found, size or first.frame.original, first.name, descriptor)

    def check_origin(self, bucket: Sequence[FeatureMaps]) -> None:
        """Raise BadInput for features of another model, or of adapters with other contents, than the head's."""
        for maps in bucket if self.source is not None else ():
            assert self.source is not None
            if conflict := self.source.origin.conflict(maps.origin):
                raise BadInput(f"{maps.name}: the head was fitted on, and the photo read with, {conflict}")


def parts_of(logits: torch.Tensor, hw: tuple[int, int], name: str, descriptor: torch.Tensor) -> Parts:
    """Return the answer for a photo of H W from logits 1 L h w on a grid; `descriptor` D describes the photo."""
    grid = (int(logits.shape[-2]), int(logits.shape[-1]))
    flat = logits[0].flatten(1)
    logs = flat.log_softmax(0)
    entropy = -(logs.exp() * logs).sum(0, keepdim=True).clamp_min(0)
    parts = Parts.on(grid, flat.cpu(), entropy.cpu(), hw, name)
    return replace(parts, descriptor=descriptor.cpu().numpy())
