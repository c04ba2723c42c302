"""The rows of the tables of parts that GANs give: features of photos and of generated pictures.

- ALAE: the generator's maps of the latent that the autoencoder's encoder gives for the photo.
- GAN inversion: the generator's maps of the latents that optimisation finds for the photo.
- GAN encoder: the encoder's own maps.
- DatasetGAN: generated pictures that an ensemble labels by the generator's maps. Nobody labels generated pictures
  here, so the ensemble learns from inverted photos: the generator's maps of their latents, and their own labels.

How they are read is that of Baranchuk et al., ICLR 2022, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from miniworld.gan.encoder import Encoder
from miniworld.gan.generator import Generator
from miniworld.gan.inversion import STEPS, invert
from miniworld.tables.dataset_ddpm import PICTURES, Generated
from shiftless import mini
from shiftless.digest import digest_of_tensors
from shiftless.features import Bucket, FeatureMaps
from shiftless.header import Origin
from shiftless.image import Frame, Photo, open_photo, to_uint8
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap

ALAE, INVERSION, ENCODER = "alae", "gan-inversion", "gan-encoder"
NEEDED = {
    ALAE: ("alae/generator", "alae/encoder"),
    INVERSION: ("gan/generator", "gan-encoder/encoder"),
    ENCODER: ("gan/generator", "gan-encoder/encoder"),
}
"""What is read -> the folders of weights that it needs."""
SHOWN = {"parts": 0, "rooms": 1}
"""Set of labelled pictures -> the label of the generator."""
DATASET_GAN = (
    "DatasetGAN: nobody labels generated pictures here, so its ensemble learns from photos inverted into the "
    "generator, with their labels"
)
TRUNCATION = 0.9
BATCH = 20


@dataclass
class GanReader:
    """Reads photos by the networks in a folder of weights, such as the embedded one.

    steps     of the inversion
    pictures  that are generated for DatasetGAN

    >>> GanReader(Path("nowhere")).available(["gan-inversion", "ddpm"])
    []
    """

    folder: Path = field(default_factory=mini.weights)
    steps: int = STEPS
    pictures: int = PICTURES

    def available(self, keys: Iterable[str]) -> list[str]:
        """Say which of the keys can be read: those of `NEEDED` whose weights are there."""
        there = {key for key, parts in NEEDED.items() if all(self._has(part) for part in parts)}
        return [key for key in keys if key in there]

    def read(self, key: str, photos: Sequence[Photo], report: Callable[[int], object] = lambda _: None) -> list[Bucket]:
        """Give a bucket of one reading for each photo, in bfloat16; `report` is told how many were read."""
        generator, encoder, origin = self._networks(key)
        buckets: list[Bucket] = []
        for start in range(0, len(photos), BATCH):
            part = photos[start : start + BATCH]
            pixels = torch.cat([_pixels(photo, generator.size) for photo in part])
            with torch.no_grad():
                latents, maps = encoder(pixels)
            if key == INVERSION:
                latents = invert(generator, pixels, encoder, steps=self.steps)
            if key != ENCODER:
                with torch.no_grad():
                    _, maps = generator.synthesise(latents.expand(-1, generator.styles, -1))
            buckets += _buckets(maps, part, generator.size, origin)
            report(len(part))
        return buckets

    def generate(self, name: str, seed: int = 0) -> Generated:
        """Generate pictures of what a table shows, with the generator's maps of them, as `INVERSION` reads photos.

        name  "parts" or "rooms"

        Source: Zhang et al., CVPR 2021 (DatasetGAN).
        """
        generator, _, origin = self._networks(INVERSION)
        random = torch.Generator().manual_seed(seed)
        made = Generated([], [])
        for z in torch.randn(self.pictures, generator.config.latent, generator=random).split(BATCH):
            w = generator.sample(z, torch.full((len(z),), SHOWN[name]), TRUNCATION)
            with torch.no_grad():
                painted, maps = generator.synthesise(w)
            photos = [open_photo(one) for one in to_uint8(painted)]
            made.pictures.extend(photo.array for photo in photos)
            made.buckets.extend(_buckets(maps, photos, generator.size, origin))
        return made

    def _has(self, part: str) -> bool:
        return (self.folder / part / "config.json").is_file()

    def _networks(self, key: str) -> tuple[Generator, Encoder, Origin]:
        """The generator and the encoder that a way of reading takes, and what the features' origin says of them."""
        networks: list[Any] = [
            kind.from_pretrained(self.folder / part, torch_dtype=torch.float32).requires_grad_(False).eval()
            for kind, part in zip((Generator, Encoder), NEEDED[key])
        ]
        weights = {f"{i}.{name}": one for i in (0, 1) for name, one in networks[i].state_dict().items()}
        return (
            networks[0],
            networks[1],
            Origin(model=f"mini-{key}", fingerprint=digest_of_tensors(weights), dtype="fp32"),
        )


def _pixels(photo: Photo, size: int) -> torch.Tensor:
    pixels = torch.from_numpy(photo.array.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    if pixels.shape[-2:] == (size, size):
        return pixels
    return F.interpolate(pixels, (size, size), mode="bilinear", antialias=True, align_corners=False)


def _buckets(maps: Sequence[torch.Tensor], photos: Sequence[Photo], size: int, origin: Origin) -> list[Bucket]:
    buckets = []
    for row, photo in enumerate(photos):
        one = {f"grid{value.shape[-1]}": value[row : row + 1].bfloat16() for value in maps}
        taps = {name: Tap(name, value.shape[1], size // value.shape[-1], "") for name, value in one.items()}
        frame, whole = Frame(photo.hw, (size, size)), replace(origin, photo=photo.digest)
        recipe = Recipe(taps=tuple(taps), label=origin.model)
        buckets.append(Bucket((FeatureMaps(one, taps, frame, recipe, name=photo.name, origin=whole),)))
    return buckets
