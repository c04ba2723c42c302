"""Tiny encoders: small networks that give a model's latents in place of its autoencoder, as TAESD does.

Source: madebyollin's TAESD, diffusers' AutoencoderTiny: a network distilled from an autoencoder, whose encoder gives
latents that are scaled as the denoiser was trained. Its decoder is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from shiftless.backbones.autoencoded import Autoencoded
from shiftless.conditions.config import AGAIN, Claim, Field, check_fields, check_values, check_weights, read_config
from shiftless.conditions.hub import is_hub_id, need_fetched
from shiftless.conditions.silence import silenced
from shiftless.conditions.weights import DIFFUSERS, find_weights
from shiftless.digest import digest_of, digest_of_folder
from shiftless.errors import BadInput
from shiftless.progress import detail
from shiftless.taps.lock import construction

TAESD = "taesd"
"""The name of a model's own tiny encoder, and of the folder in which it lies in the model's."""
_STRIDE = 8  # pixels a cell of every published one's latents
_BLOCKS = Field(int, 0, 64, many=16, only=True, default=[1, 3, 3, 3])
FIELDS = {
    "in_channels": Field(int, 3, 3, default=3),
    "latent_channels": Field(int, 1, 1024, default=4),
    "encoder_block_out_channels": Field(int, 1, 4096, many=16, only=True, default=[64, 64, 64, 64]),
    "num_encoder_blocks": _BLOCKS,
    "act_fn": Field(str, choices=("relu", "silu", "gelu", "mish"), default="relu"),
    "scaling_factor": Field(float, 1e-6, 1e6, default=1.0),
    "shift_factor": Field(float, -1e6, 1e6, null=True, default=0.0),
}


@dataclass(frozen=True, eq=False)
class TinyEncoder:
    """The encoder of an AutoencoderTiny: B 3 H W in [-1, 1] -> latents B c h w, scaled as the denoiser was trained.

    net           diffusers' EncoderTiny
    scale, shift  of its config: the latent is (what it gives - shift) * scale
    """

    net: Any
    scale: float = 1.0
    shift: float = 0.0

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """B 3 H W in [-1, 1] -> B c h w."""
        given: torch.Tensor = self.net(pixels)
        return given if (self.scale, self.shift) == (1.0, 0.0) else (given - self.shift) * self.scale


class TinyEncoded(Autoencoded):
    """What adapters derive from to have photos encoded by a tiny encoder in place of their autoencoder.

    TINY        the hub id of the tiny autoencoder that was published for the family; "" where there is none by name,
                None where the denoiser's latents are not those that such a network gives
    _own_tinies those that are known for the model: name -> folder, hub id, or a function that makes one
    _tinies     those that are loaded: name -> (digest of its contents, the encoder)
    """

    TINY: ClassVar[str | None] = None
    home: Path | None
    _own_tinies: Mapping[str, Any]
    _tinies: dict[str, tuple[str, TinyEncoder]]

    @torch.no_grad()
    def encode_image(
        self, pixels: torch.Tensor, *, latent: str = "mean", noise: torch.Tensor | None = None, encoder: str = ""
    ) -> torch.Tensor:
        """B 3 H W in [-1, 1] -> B c h w, as `Autoencoded` gives it, or the tiny encoder of a name.

        Raises BadInput as `Autoencoded` and `tiny_encoder` do.
        """
        if not encoder:
            return super().encode_image(pixels, latent=latent, noise=noise)
        self._check_size((pixels.shape[2], pixels.shape[3]))
        net = self.tiny_encoder(encoder)
        return net(pixels.to(self.device, self.dtype, memory_format=self._format))

    def tiny_encoder(self, name: str) -> TinyEncoder:
        """The tiny encoder that a recipe names: "taesd" for the model's own, a folder or a hub id; loaded once.

        Raises BadInput if it is not on this machine, is broken, or gives other latents than the model takes.

        >>> from shiftless.backbones.registry import load
        >>> load("twin:sd15", dtype="fp32").tiny_encoder("taesd")(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 4, 8, 8])
        """
        with construction():
            digest = self.digest_of_tiny(name)
            if name not in self._tinies or self._tinies[name][0] != digest:
                where = self._where(name)
                made = where() if callable(where) else load_tiny_encoder(_folder(where))
                check_fit(made, self.spec.latent, name)
                made.net.to(device=self.device, dtype=self.dtype, memory_format=self._format)
                made.net.eval().requires_grad_(False)
                detail(f"{self.spec.name}: encoder {name} loaded on {self.device}")
                self._tinies[name] = digest, made
            return self._tinies[name][1]

    def digest_of_tiny(self, name: str) -> str:
        """Return the digest of what a tiny encoder's name stands for; raises BadInput if it is not on this machine."""
        where = self._where(name)
        if callable(where):
            return digest_of(name, "random weights", torch.__version__)
        return digest_of_folder(_folder(where), ("*.json", "*.safetensors"))

    def _where(self, name: str) -> Any:
        """A folder, a hub id, or a function that makes the encoder."""
        if self.TINY is None:
            raise BadInput(
                f"{self.spec.name}: no tiny encoder gives the latents of the {self.spec.family} family; leave encoder "
                "out of the recipe"
            )
        if name != TAESD:
            return name
        own = None if self.home is None else self.home / TAESD
        published = self.TINY if self.spec.latent[1] == _STRIDE else ""
        where = self._own_tinies.get(TAESD) or (own if own is not None and own.is_dir() else published)
        if not where:
            raise BadInput(
                f"{self.spec.name}: no tiny encoder is known for this model; give a folder of an AutoencoderTiny, or "
                f"put one into {own or 'a model folder'}"
            )
        return where


def load_tiny_encoder(folder: Path) -> TinyEncoder:
    """Load the encoder of an AutoencoderTiny from a folder that diffusers saved, on the CPU in float32.

    The folder may lack the decoder's weights. Raises BadInput naming what is missing or broken.
    """
    from diffusers import AutoencoderTiny
    from safetensors.torch import load_file

    path = folder / "config.json"
    raw = read_config(path, f"give the folder of an AutoencoderTiny of diffusers, such as {TAESD}'s")
    if raw.get("_class_name", "AutoencoderTiny") != "AutoencoderTiny":
        raise BadInput(f"{path}: of a {raw['_class_name']}; a tiny encoder is read from an AutoencoderTiny's folder")
    config = check_fields(raw, FIELDS, path)
    weights = find_weights(folder, DIFFUSERS, "AutoencoderTiny")
    widths, blocks = config["encoder_block_out_channels"], config["num_encoder_blocks"]
    if len(widths) != len(blocks) or len(set(widths)) > 1:
        raise BadInput(f"{path}: encoder_block_out_channels and num_encoder_blocks do not fit each other; {AGAIN}")
    check_weights(_claims(config), folder, path)
    prefix = "encoder."
    state: dict[str, torch.Tensor] = {}
    for file in weights.files:
        if file.suffix == ".safetensors":
            loaded = load_file(file)
            state |= {name.removeprefix(prefix): one for name, one in loaded.items() if name.startswith(prefix)}
    shape = {name: config[name] for name in ("in_channels", "latent_channels", "act_fn")}
    with construction(), silenced():
        net = AutoencoderTiny(
            **shape, encoder_block_out_channels=tuple(widths), num_encoder_blocks=tuple(blocks),
            decoder_block_out_channels=(1,), num_decoder_blocks=(0,),
        ).encoder  # fmt: skip
    try:
        net.load_state_dict({name: one.float() for name, one in state.items()})
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise BadInput(f"{folder}: not the encoder that config.json asks for ({first}); {AGAIN}") from None
    check_values(net, folder)
    return TinyEncoder(net, float(config["scaling_factor"]), float(config["shift_factor"] or 0.0))


def check_fit(encoder: TinyEncoder, latent: tuple[int, int], name: str) -> None:
    """Raise BadInput unless an encoder gives latents of (channels, stride in pixels a cell).

    >>> check_fit(twin_encoder(4, 8), (16, 8), "taesd")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: taesd: this encoder is for another model (it gives 4 channels and a cell every 8 ...
    """
    layers = [layer for layer in encoder.net.modules() if isinstance(layer, torch.nn.Conv2d)]
    stride = 1
    for layer in layers:
        stride *= layer.stride[0]
    theirs = layers[-1].out_channels, stride
    if theirs != tuple(latent):
        given = "gives {} channels and a cell every {} pixels".format(*theirs)
        takes = "takes {} and one every {}".format(*latent)
        raise BadInput(f"{name}: this encoder is for another model (it {given}, the model {takes}); take its own")


def twin_encoder(channels: int, stride: int, width: int = 8, seed: int = 0) -> TinyEncoder:
    """Make a tiny encoder with random weights: latents of `channels` channels and a cell every `stride` pixels."""
    from diffusers import AutoencoderTiny

    from shiftless.noise import seeded

    levels = stride.bit_length()
    with construction(), seeded(seed), silenced():
        net = AutoencoderTiny(
            latent_channels=channels, encoder_block_out_channels=(width,) * levels,
            num_encoder_blocks=(0,) + (1,) * (levels - 1), decoder_block_out_channels=(1,), num_decoder_blocks=(0,),
        ).encoder  # fmt: skip
    return TinyEncoder(net)


def _claims(config: Mapping[str, Any]) -> Iterator[Claim]:
    """What a config implies for the weights."""
    layers = 1 + sum(1 + blocks for blocks in config["num_encoder_blocks"])
    yield Claim("encoder_block_out_channels", "encoder.layers.0.weight", config["encoder_block_out_channels"][0], 0)
    yield Claim("num_encoder_blocks", f"encoder.layers.{layers - 1}.weight", config["latent_channels"], 0)


def _folder(where: Any) -> Path:
    if Path(where).is_dir():
        return Path(where)
    if not is_hub_id(str(where)):
        raise BadInput(f"encoder {where}: no such folder; check the path, or give {TAESD} or a hub id")
    return need_fetched(str(where))
