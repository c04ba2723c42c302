"""ResNets: transformers' ResNetModel, for supervised networks and converted ones such as SwAV's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from shiftless.backbones.vision_model import VisionModel
from shiftless.taps.names import Tap

_SIZE = 224  # of the pictures that ImageNet's networks are trained on, for a folder that says none


class ResNet(VisionModel):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    Stages and blocks count from 0: "stage0" is torchvision's layer1. Each block has its input ("stage2.block4.in") and
    its output ("stage2.block4") as a tap.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:resnet50", dtype="fp32")
    >>> taps = [tap for tap in model.taps if tap.name in ("stem", "stage1.block1.in", "stage3")]
    >>> latent = model.encode_image(torch.zeros(1, 3, 64, 96))
    >>> maps = model.denoise(latent, 0, model.encode_prompt([""]), taps).maps
    >>> {name: tuple(value.shape) for name, value in maps.items()}
    {'stem': (1, 8, 16, 24), 'stage1.block1.in': (1, 32, 8, 12), 'stage3': (1, 128, 2, 3)}
    """

    FAMILY = "resnet"
    KINDS = {"resnet": "ResNetModel"}  # noqa: RUF012

    @classmethod
    def list_taps(cls, configs: Mapping[str, Mapping[str, Any]]) -> tuple[Tap, ...]:
        """List the taps of the stem, of every block's input and output, and of every stage."""
        settings = cls.config(configs["network"])
        return tuple(_taps(settings))

    @classmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build the network with random weights, tiny or in full size; "." since its folder holds it itself."""
        widths = row["network"]["hidden_sizes"]
        small = {"embedding_size": 8, "hidden_sizes": [16 * 2**i for i in range(len(widths))]}
        small |= {"depths": [2] * len(widths)}
        return {".": cls._random({**row["network"], **({} if full else small)})}

    def _native_size(self) -> int:
        return self.prepared.size or _SIZE

    def _look(self, pixels: torch.Tensor) -> None:
        self.denoiser(pixel_values=pixels)


def _taps(settings: Any) -> Iterator[Tap]:
    width, stride = settings.embedding_size, 4
    yield Tap("stem.conv", width, 2, "embedder.embedder")
    yield Tap("stem", width, stride, "embedder")
    for stage, (channels, depth) in enumerate(zip(settings.hidden_sizes, settings.depths)):
        module = f"encoder.stages.{stage}"
        for block in range(depth):
            yield Tap(f"stage{stage}.block{block}.in", width, stride, f"{module}.layers.{block}", side="in")
            if block == 0 and (stage or settings.downsample_in_first_stage):
                stride *= 2
            width = channels
            yield Tap(f"stage{stage}.block{block}", width, stride, f"{module}.layers.{block}")
        yield Tap(f"stage{stage}", width, stride, module)
