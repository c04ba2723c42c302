"""FeatureMaps: the features of one image by one recipe; Bucket: those by several recipes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from shiftless.atomic import write_atomic
from shiftless.errors import BadInput
from shiftless.header import Origin, check_map, from_header, stored, to_header
from shiftless.image import Frame
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap


@dataclass(frozen=True, eq=False)
class FeatureMaps(Mapping[str, torch.Tensor]):
    """Named maps of one image: tap name -> 1 C H W, each on its own true grid.

    taps    for each map, its channels, stride (pixels of the image as fed) and place in the model
    frame   the way between original pixels and the image as the model saw it
    recipe  how it was read
    name    the image's file, or "image"
    words   the prompt's tokens, one for each channel of a cross-attention map
    prompt  the text that it was read with, captions and other fields filled in
    origin  what it was made from: photo, model and adapters, by the digests of their contents

    >>> from shiftless.image import Frame
    >>> frame = Frame(original=(100, 200), fed=(64, 128))
    >>> maps = FeatureMaps({"up1": torch.zeros(1, 8, 4, 8)}, {"up1": Tap("up1", 8, 16, "")}, frame)
    >>> maps
    FeatureMaps(image, 200x100 pixels read as 128x64: up1 8x4x8 stride 16)
    """

    maps: dict[str, torch.Tensor]
    taps: dict[str, Tap]
    frame: Frame
    recipe: Recipe = Recipe()
    name: str = "image"
    words: tuple[str, ...] = ()
    prompt: str = ""
    origin: Origin = Origin()

    def __getitem__(self, tap: str) -> torch.Tensor:
        if tap not in self.maps:
            raise BadInput(f"these features hold no tap {tap!r}; they hold {', '.join(self.maps)}")
        return self.maps[tap]

    def __contains__(self, tap: object) -> bool:
        return tap in self.maps

    def __iter__(self) -> Iterator[str]:
        return iter(self.maps)

    def __len__(self) -> int:
        return len(self.maps)

    def __repr__(self) -> str:
        (h, w), (fh, fw) = self.frame.original, self.frame.fed
        return f"FeatureMaps({self.name}, {w}x{h} pixels read as {fw}x{fh}: {self.describe()})"

    def describe(self) -> str:
        """Return one line: each tap's channels, grid and stride."""
        shapes = ((tap, *self.maps[tap].shape[1:]) for tap in self.maps)
        return " · ".join(f"{tap} {c}x{h}x{w} stride {self.taps[tap].stride}" for tap, c, h, w in shapes)

    def save(self, path: str | os.PathLike[str], dtype: str | None = None) -> Path:
        """Write the maps to one safetensors file, with recipe, frame and origin in its header; whole or not at all.

        dtype  "fp16", "fp32" or "bf16"; by default maps keep theirs, but for bfloat16, which NumPy does not read and
               which becomes fp16. A map with values beyond the dtype's range is saved in fp32

        docs/features.md describes the file. Raises BadInput if the place cannot be written.
        """
        from safetensors.torch import save

        taps = {tap: self.taps[tap] for tap in self}
        header = to_header(taps, self.frame, self.recipe, self.name, self.words, self.prompt, self.origin)
        tensors = {tap: stored(value, dtype) for tap, value in self.maps.items()}
        return write_atomic(path, save(tensors, metadata=header))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FeatureMaps:
        """Read what `save` wrote; raises BadInput for a file that is missing or something else.

        >>> import tempfile
        >>> from shiftless.image import Frame
        >>> up1, frame = Tap("up1", 8, 16, ""), Frame((64, 128), (64, 128))
        >>> maps = FeatureMaps({"up1": torch.ones(1, 8, 4, 8)}, {"up1": up1}, frame)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     FeatureMaps.open(maps.save(folder + "/a.safetensors"))
        FeatureMaps(image, 128x64 pixels read as 128x64: up1 8x4x8 stride 16)
        """
        from safetensors import safe_open

        try:
            with safe_open(path, "pt") as file:
                about = from_header(file.metadata() or {})
                maps = {name: check_map(tap, file.get_tensor(name)) for name, tap in about["taps"].items()}
        except BadInput as error:
            raise BadInput(f"{path}: {error}") from None
        except Exception as error:  # broken headers make the parsers raise nearly anything
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise BadInput(f"{path}: not a whole file of features ({reason}); extract it again") from None
        return cls(maps, **about)

    def dense(
        self, taps: Sequence[str] | None = None, grid: tuple[int, int] | None = None, normalise: bool = True
    ) -> torch.Tensor:
        """Concatenate maps on one grid: 1 C H W, bilinear.

        taps       which ones (all)
        grid       (H, W); by default the finest of the chosen maps
        normalise  make each tap's vectors unit length before joining, so that none drowns the others

        >>> from shiftless.image import Frame
        >>> two = {"a": torch.rand(1, 3, 2, 2), "b": torch.rand(1, 5, 4, 4)}
        >>> taps = {"a": Tap("a", 3, 16, ""), "b": Tap("b", 5, 8, "")}
        >>> FeatureMaps(two, taps, Frame((32, 32), (32, 32))).dense().shape
        torch.Size([1, 8, 4, 4])
        """
        chosen = [self[tap].float() for tap in (taps or list(self.maps))]
        if grid is None:
            h, w = max((m.shape[-2:] for m in chosen), key=lambda hw: hw[0] * hw[1])
            grid = (int(h), int(w))
        resized = [m if m.shape[-2:] == grid else F.interpolate(m, grid, mode="bilinear") for m in chosen]
        if normalise:
            resized = [F.normalize(m, dim=1) for m in resized]
        return resized[0] if len(resized) == 1 else torch.cat(resized, dim=1)

    def at(self, points: np.ndarray | Sequence[Sequence[float]], taps: Sequence[str] | None = None) -> torch.Tensor:
        """Read features at N points, (x, y) in original pixels: N C, bilinear.

        Raises BadInput for points that are not finite or lie outside the image.
        """
        grid = self.frame.to_unit(self.frame.check_points(points, self.name))
        where = torch.as_tensor(grid, dtype=torch.float32).view(1, -1, 1, 2) * 2 - 1
        dense = self.dense(taps)
        read = F.grid_sample(dense, where.to(dense.device), mode="bilinear", padding_mode="border", align_corners=False)
        return read[0, :, :, 0].T


@dataclass(frozen=True, eq=False)
class Bucket(Sequence[FeatureMaps]):
    """K readings of one image, one for each recipe.

    >>> from shiftless.image import Frame
    >>> one = FeatureMaps({"up1": torch.zeros(1, 8, 4, 4)}, {"up1": Tap("up1", 8, 16, "")}, Frame((64, 64), (64, 64)))
    >>> Bucket((one, one)).stack("up1").shape
    torch.Size([2, 1, 8, 4, 4])
    """

    readings: tuple[FeatureMaps, ...]

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # the two overloads say no more than Sequence does
        return self.readings[index]

    def __len__(self) -> int:
        return len(self.readings)

    def __repr__(self) -> str:
        return f"Bucket of {len(self)}: " + "; ".join(r.recipe.label or r.recipe.key() for r in self)

    def stack(self, tap: str) -> torch.Tensor:
        """Return one tap of every reading: K B C H W, which is what an amalgamator takes."""
        return torch.stack([reading[tap] for reading in self.readings])
