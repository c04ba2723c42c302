"""DiT: DiTTransformer2DModel + AutoencoderKL, as diffusers ships them; its prompt is the name of an ImageNet class."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch

from shiftless.backbones.class_prompt import class_of_prompt, read_labels
from shiftless.backbones.latent_model import LatentModel
from shiftless.backbones.random_parts import autoencoder, network
from shiftless.backbones.transformer_taps import all_block_taps
from shiftless.conditions.condition import Condition
from shiftless.taps.names import Tap


class _Tokens(Exception):
    """Ends a forward pass with the last layer's tokens: what DiT's class does next is right for square images only."""


class DiT(LatentModel):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    The prompt is a class: its name as model_index.json spells it ("tabby cat"), its number ("281"), or "" for the
    class that stands for none. The network is told the timestep as it is, 0 to 999.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:dit-xl-256", dtype="fp32")
    >>> latent, condition = torch.zeros(1, 4, 8, 16), model.encode_prompt(["281"])
    >>> condition.extra["label"], model.encode_prompt([""]).extra["label"]
    (tensor([281]), tensor([1000]))
    >>> model.denoise(latent, 50, condition).prediction.shape
    torch.Size([1, 4, 8, 16])
    """

    FAMILY = "dit"
    TINY = "madebyollin/taesd"
    PARTS = {  # noqa: RUF012
        "transformer": "diffusers:DiTTransformer2DModel",
        "vae": "diffusers:AutoencoderKL",
        "scheduler": "diffusers:DDIMScheduler",
    }
    TEXT_ENCODERS = ()

    @classmethod
    def list_taps(cls, configs: Mapping[str, Mapping[str, Any]]) -> tuple[Tap, ...]:
        """List the taps of every transformer block, "block0" to "block27", and the mean of their attention maps."""
        return all_block_taps(configs, cross=False, modulation=("{}.norm1.linear",))

    @classmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build every part with random weights, tiny or in full size."""
        small = {"num_attention_heads": 4, "attention_head_dim": 8, "num_layers": 3, "sample_size": 8}
        return {
            "transformer": network(cls.PARTS["transformer"], row["transformer"], {} if full else small),
            "vae": autoencoder(row["vae"], full=full),
            "scheduler": network(cls.PARTS["scheduler"], row["scheduler"]),
        }

    @cached_property
    def labels(self) -> dict[str, tuple[int, ...]]:
        """The names of the classes, in lower case, and the classes that bear each; none for a model without a list."""
        return read_labels(self.home, self._null)

    @property
    def _null(self) -> int:
        return int(self.denoiser.config.num_embeds_ada_norm)

    def _encode(self, prompt: str) -> Condition:
        label = class_of_prompt(prompt, self.labels, self._null, self.spec.name, null=self._null)
        return Condition(extra={"label": torch.tensor([label], device=self.device)})

    def _predict(self, latent: torch.Tensor, timestep: int, condition: Condition) -> torch.Tensor:
        def end(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
            raise _Tokens(output)

        handle = self.denoiser.proj_out_2.register_forward_hook(end)
        timesteps = torch.full((len(latent),), timestep, device=self.device)
        try:
            self.denoiser(latent, timestep=timesteps, class_labels=condition.extra["label"])
        except _Tokens as ended:
            tokens: torch.Tensor = ended.args[0]
        finally:
            handle.remove()
        side = int(self.denoiser.config.patch_size)
        patches = tokens.unflatten(1, (latent.shape[2] // side, -1)).unflatten(3, (side, side, -1))  # B h w p q C
        image = patches.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        return image[:, : latent.shape[1]]  # the other half is a variance, which DDIM does not use

    def _native_size(self, name: str) -> int:
        return int(self.denoiser.config.sample_size) * self._stride
