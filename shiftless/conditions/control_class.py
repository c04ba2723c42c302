"""ControlClass: what is known of one of diffusers' classes of control networks: its config, its weights, its fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch

from shiftless.conditions.config import Claim, Field, check_complete, check_fields, check_values, check_weights
from shiftless.conditions.config import read_config as read_json
from shiftless.conditions.hub import fetch_again
from shiftless.conditions.silence import silenced
from shiftless.conditions.weights import DIFFUSERS, find_weights
from shiftless.errors import BadInput, first_line

Draw = Callable[[torch.Tensor], torch.Tensor]
Encode = Callable[[torch.Tensor, bool], torch.Tensor]


class ControlClass(ABC):
    """One class of control networks; a file each, a row each in `control_classes.CONTROL_CLASSES`.

    NAME       the class in diffusers
    A          what messages call it, with its article
    DENOISER   the class of the denoisers that it steers
    CONVERTS   whether diffusers converts single-file checkpoints of it
    FIELDS     what its config may hold
    """

    NAME: ClassVar[str]
    A: ClassVar[str] = "a ControlNet"
    DENOISER: ClassVar[str] = "UNet2DConditionModel"
    CONVERTS: ClassVar[bool] = False
    FIELDS: ClassVar[Mapping[str, Field]]

    def read_config(self, folder: Path) -> dict[str, Any]:
        """Return the checked config of a folder; raises BadInput naming the field that is wrong."""
        path = folder / "config.json"
        return check_fields(read_json(path), self.FIELDS, path)

    @abstractmethod
    def claims(self, config: Mapping[str, Any]) -> Iterator[Claim]:
        """What a config implies for the weights."""

    @abstractmethod
    def check_fit(self, net: Any, denoiser: Any, stride: int, name: str) -> None:
        """Raise BadInput unless what the network gives fits the denoiser's blocks, and its map the latent.

        stride  pixels of the image a cell of the latent
        name    what messages call the network
        """

    def drawn(self, net: Any, kind: str, draw: Draw, name: str, encode: Encode) -> Draw:
        """Return what takes pixels B 3 H W in [-1, 1] to what the network is given.

        kind, draw  a kind of map, and what draws it: B 3 H W in [0, 1]
        encode      takes a map B 3 H W in [-1, 1] to its latent B c h w, with the autoencoder's shift or without it

        Raises BadInput for a kind of map that it cannot be given.
        """
        return draw

    def mode(self, net: Any, kind: str, name: str) -> int | None:
        """The number that a union of networks knows a kind of map by, or None for a network of one kind.

        Raises BadInput for a kind that a union was not trained for.
        """
        return None

    def load(self, folder: Path, dtype: torch.dtype) -> Any:
        """Load the network from a folder; raises BadInput naming what is missing or broken."""
        import diffusers

        variant = find_weights(folder, DIFFUSERS, self.NAME if self.CONVERTS else "").variant
        if not (folder / "config.json").is_file():
            remedy = fetch_again(folder) or f"give the folder of {self.A} of diffusers"
            raise BadInput(f"{folder}: no config.json of {self.A} here; {remedy}")
        check_weights(self.claims(self.read_config(folder)), folder, folder / "config.json")
        options: dict[str, Any] = {"torch_dtype": dtype, "use_safetensors": True, "local_files_only": True}
        try:
            with silenced():
                kind = getattr(diffusers, self.NAME)
                net, info = kind.from_pretrained(folder, variant=variant, output_loading_info=True, **options)
        except Exception as error:  # the library raises many kinds; the user needs one line
            reason = first_line(error)
            raise BadInput(f"{folder}: not {self.A} that can be loaded ({reason}); fetch or save it again") from error
        check_complete(info, folder)
        if info.get("unexpected_keys"):
            more = sorted(info["unexpected_keys"])[0]
            raise BadInput(f"{folder}: holds {more}, which no {self.NAME} has; take another")
        check_values(net, folder)
        return net


def check_same(setting: str, theirs: Any, ours: Any, name: str) -> None:
    """Raise BadInput where a setting that a ControlNet should share with its denoiser differs: its own, the model's.

    >>> check_same("in_channels", 4, 16, "nets/canny")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nets/canny: this ControlNet is for another model (in_channels is 4, the model's is ...
    """
    theirs, ours = (list(value) if isinstance(value, (list, tuple)) else value for value in (theirs, ours))
    if ours != theirs:
        raise BadInput(
            f"{name}: this ControlNet is for another model ({setting} is {theirs}, the model's is {ours}); "
            "take one that was trained with this model's family and size"
        )
