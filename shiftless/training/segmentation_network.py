"""SegmentationNetwork: a trained network that segments photos by itself, without a diffusion model."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from shiftless.atomic import write_atomic
from shiftless.backbones.device import choose_device
from shiftless.backbones.vision_folder import MEAN, STD, Preparation, load_network, one_line, preparation
from shiftless.conditions.config import read_config
from shiftless.conditions.silence import silenced
from shiftless.digest import digest_of, digest_of_tensors
from shiftless.errors import BadInput
from shiftless.image import open_photo, plan, to_pixels
from shiftless.metrics.segmentation import MOST_CLASSES
from shiftless.tasks.parts import Parts
from shiftless.training.segformer import STRIDE, WHAT, check_segformer

CONFIG, PREPARATION = "config.json", "preprocessor_config.json"
_USUAL_SIDE = 512  # pixels, for a folder that says none


class SegmentationNetwork:
    """A SegFormer with its classes: what `distil` trains, and any other folder of transformers' class.

    network  transformers' SegformerForSemanticSegmentation
    side     pixels that the longer side of a photo is scaled to
    classes  L names                      palette  L colours, or None
    prepare  how pixels are normed

    >>> from shiftless.training.segformer import new_network
    >>> network = SegmentationNetwork(new_network("tiny", ["background", "horse"]), side=64)
    >>> parts = network.predict(torch.zeros(3, 40, 60))
    >>> parts.mask.shape, bool(parts.uncertainty.max() <= 0.7)  # ln 2 nats at most
    ((40, 60), True)
    """

    def __init__(self, network: Any, side: int, prepare: Preparation | None = None) -> None:
        self.network, self.side, self.prepare = network, side, prepare or Preparation()
        config = network.config
        self.classes = tuple(str(config.id2label[i]) for i in range(config.num_labels))
        self.palette: list[list[int]] | None = getattr(config, "palette", None)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return next(self.network.parameters()).device

    @property
    def fingerprint(self) -> str:
        """The digest of its weights, classes and preprocessing."""
        about = [self.classes, self.side, self.prepare.mean, self.prepare.std]
        return digest_of(digest_of_tensors(self.network.state_dict()), about)

    @staticmethod
    def is_at(folder: str | os.PathLike[str]) -> bool:
        """Whether a path is a folder that holds a SegFormer, by its config.json.

        >>> SegmentationNetwork.is_at("head.safetensors")
        False
        """
        with suppress(BadInput):
            return bool(read_config(Path(folder) / CONFIG).get("model_type") == "segformer")
        return False

    @classmethod
    def open(cls, folder: str | os.PathLike[str], *, device: str | torch.device = "auto") -> SegmentationNetwork:
        """Open a folder that `save` or transformers' `save_pretrained` wrote, in float32.

        Raises BadInput for a folder of something else, weights that lack or are not finite, and a head that is not one
        for segmentation.
        """
        from transformers import SegformerForSemanticSegmentation

        folder = Path(folder)
        check_segformer(folder)
        with one_line(folder, f"{WHAT} for segmentation"):
            network = load_network(folder, SegformerForSemanticSegmentation, dtype=torch.float32)
            prepare = preparation(folder, "segformer")
        if not 2 <= network.config.num_labels <= MOST_CLASSES:
            raise BadInput(f"{folder}: {network.config.num_labels} classes; a mask can hold 2 to {MOST_CLASSES}")
        _check_palette(network.config, folder)
        side = max(STRIDE, round((prepare.size or _USUAL_SIDE) / STRIDE) * STRIDE)
        return cls(network.to(choose_device(device)).eval().requires_grad_(False), side, prepare)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write a plain transformers folder; its config.json comes last, so that a folder without one is not whole."""
        folder = Path(folder)
        side = {"height": self.side, "width": self.side}
        prepared = {
            "image_processor_type": "SegformerImageProcessor", "do_resize": True, "size": side, "do_rescale": True,
            "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": list(self.prepare.mean),
            "image_std": list(self.prepare.std), "do_reduce_labels": False,
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as made, silenced():
            weights = {name: value.detach().cpu() for name, value in self.network.state_dict().items()}
            self.network.save_pretrained(made, state_dict=weights, max_shard_size="1TB")  # one file
            config = (Path(made) / CONFIG).read_bytes()
            content = (Path(made) / "model.safetensors").read_bytes()
        (folder / CONFIG).unlink(missing_ok=True)
        write_atomic(folder / "model.safetensors", content)
        write_atomic(folder / PREPARATION, (json.dumps(prepared, indent=1) + "\n").encode())
        write_atomic(folder / CONFIG, config)
        return folder

    @torch.no_grad()
    def predict(self, photo: Any, *, name: str | None = None, size: tuple[int, int] | None = None) -> Parts:
        """Say what each pixel of a photo shows.

        photo  anything `shiftless.open_photo` takes
        size   (H, W) of the answer; by default the photo's own

        The logits are enlarged to the size that the network is fed, as transformers does it; the uncertainty is the
        entropy of their softmax in nats, at most ln L. Raises BadInput for a photo that cannot be read.
        """
        opened = open_photo(photo, name)
        frame = plan(opened.hw, self.side, STRIDE)
        pixels = self.prepare.normalise((to_pixels(opened, frame) + 1) / 2).to(self.device)
        training = self.network.training
        self.network.eval()
        try:
            small = self.network(pixel_values=pixels).logits.float()
        finally:
            self.network.train(training)
        logs = F.interpolate(small, frame.fed, mode="bilinear", align_corners=False)[0].flatten(1).log_softmax(0)
        shares = logs.exp()
        entropy = -(shares * logs).sum(0, keepdim=True)
        return Parts.on(frame.fed, shares.cpu(), entropy.clamp_min(0).cpu(), size or opened.hw, opened.name)


def new_preparation(side: int) -> Preparation:
    """Return how photos are prepared for a new network: ImageNet's norm, which trained encoders take too.

    >>> new_preparation(256).size
    256
    """
    return Preparation(MEAN, STD, side)


def _check_palette(config: Any, folder: Path) -> None:
    colours: Sequence[Any] | None = getattr(config, "palette", None)
    if colours is None:
        return
    rows = isinstance(colours, list) and len(colours) == config.num_labels
    if not rows or not all(_is_colour(one) for one in colours):
        raise BadInput(f"{folder / CONFIG}: 'palette' must hold a colour [r, g, b] for each class; train it again")


def _is_colour(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(one) is int and 0 <= one <= 255 for one in value)
