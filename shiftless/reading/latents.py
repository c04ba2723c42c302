"""Clean and noisy latents of a few photos, each encoded once for all recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from shiftless.backbones.base import Backbone, steerable
from shiftless.conditions.condition import SEEN, Steer
from shiftless.conditions.inpaint import keeping
from shiftless.pixels import floats_of
from shiftless.reading.inputs import Inputs, latent_shape
from shiftless.reading.passes import Pass


class Latents:
    """The latents of a window of photos, and the ControlNet maps drawn from their pixels."""

    def __init__(self, model: Backbone, inputs: Sequence[Inputs]) -> None:
        self.model, self.inputs = model, inputs
        self._means: dict[tuple[int, tuple[int, int], tuple[str, str]], torch.Tensor] = {}  # (latent, encoder)
        self._draws: dict[tuple[Any, ...], torch.Tensor] = {}  # (photo, size, seed, member)
        self._maps: dict[tuple[int, tuple[int, int], str], torch.Tensor] = {}
        self._embeds: dict[tuple[int, str], torch.Tensor] = {}

    def encode(self, passes: Sequence[Pass]) -> None:
        """Encode the latents that these passes of one size still lack: all photos in one call, each once.

        Samples of several seeds and noise draws are drawn from one encoding.
        """
        fed = passes[0].fed
        kinds = {(p.recipe.latent, p.recipe.encoder) for p in passes if p.recipe.latent != "sample"}
        for kind in sorted(kinds):
            asked = {p.photo for p in passes if (p.recipe.latent, p.recipe.encoder) == kind}
            if means := sorted(i for i in asked if (i, fed, kind) not in self._means):
                pixels = floats_of(torch.cat([self._moved(self.inputs[i].pixels(fed)) for i in means]))
                for i, latent in zip(means, self._encoded(pixels, *kind)):
                    self._means[i, fed, kind] = latent[None].float()
        lacking: dict[int, list[tuple[int, int]]] = {}  # photo -> (seed, member) of its samples
        for p in passes:
            draw = p.recipe.seed, p.member
            known = lacking.get(p.photo, [])
            if p.recipe.latent == "sample" and (p.photo, fed, *draw) not in self._draws and draw not in known:
                lacking[p.photo] = [*known, draw]
        for draws in dict.fromkeys(map(tuple, lacking.values())):
            alike = [i for i, own in lacking.items() if tuple(own) == draws]
            each = [(i, seed, member) for i in alike for seed, member in draws]
            noise = [self._noise(i, seed, member, self._shape(fed), "posterior") for i, seed, member in each]
            pixels = floats_of(torch.cat([self._moved(self.inputs[i].pixels(fed)) for i in alike]))
            samples = self.model.encode_image(pixels, latent="sample", noise=torch.cat(noise)).float()
            self._draws |= {(i, fed, *draw): samples[n : n + 1] for n, (i, *draw) in enumerate(each)}

    def clean(self, one: Pass) -> torch.Tensor:
        """The clean latent of a pass, 1 c h w float32."""
        if one.recipe.latent != "sample":
            return self._means[one.photo, one.fed, (one.recipe.latent, one.recipe.encoder)]
        return self._draws[one.photo, one.fed, one.recipe.seed, one.member]

    def noisy(self, one: Pass, timestep: int) -> torch.Tensor:
        """The latent of a pass with its own noise of `timestep` added, 1 c h w float32."""
        clean = self.clean(one)
        if not self.model.spec.takes_noise or one.recipe.noise == "none":
            return clean
        noise = self._noise(one.photo, one.recipe.seed, one.member, tuple(clean.shape[1:]), "diffusion")
        return self.model.schedule.add(clean, self._moved(noise).to(clean.device), timestep)

    def steer(self, one: Pass, name: str, scale: float) -> Steer:
        """A control network, and its map of a pass's photo, which is drawn once."""
        control = steerable(self.model, "control").control(name)
        key = (one.photo, one.fed, name)
        if key not in self._maps:
            self._maps[key] = control.draw(self._pixels(one.photo, one.fed))
        return Steer(control.net, self._maps[key], scale, control.mode)

    def image_prompt(self, one: Pass, name: str) -> torch.Tensor:
        """The embedding of a pass's photo for an IP-Adapter, 1 1 D or 1 1 N D, made once."""
        adapter = steerable(self.model, "image_prompt").image_prompt(name)
        if (one.photo, name) not in self._embeds:
            self._embeds[one.photo, name] = adapter.embed(self.inputs[one.photo].photo)
        return self._embeds[one.photo, name]

    def seen(self, one: Pass) -> dict[str, torch.Tensor]:
        """What a model that looks at the photo itself is given of a pass's photo, made once; {} for other models."""
        look = getattr(self.model, "seen", None)
        if look is None:
            return {}
        if (one.photo, SEEN) not in self._embeds:
            found: torch.Tensor | None = look(self.inputs[one.photo].photo)
            if found is None:
                return {}
            self._embeds[one.photo, SEEN] = found
        return {SEEN: self._embeds[one.photo, SEEN]}

    def mask(self, one: Pass) -> dict[str, torch.Tensor]:
        """What a model for inpainting is given beside the latent of a pass, 1 ... float32; {} to repaint all."""
        return keeping(self.clean(one)) if one.recipe.inpaint == "keep" else {}

    def _encoded(self, pixels: torch.Tensor, latent: str, encoder: str) -> torch.Tensor:
        own: dict[str, Any] = {"encoder": encoder} if encoder else {}  # only families that have one know of it
        return self.model.encode_image(pixels, latent=latent, **own)

    def _noise(self, i: int, seed: int, member: int, shape: tuple[int, ...], stream: str) -> torch.Tensor:
        return self.inputs[i].noise(seed, member, shape, stream)

    def _moved(self, value: torch.Tensor) -> torch.Tensor:
        """A tensor on the model's device if that is CUDA: pinned memory is copied while the caller goes on."""
        device = self.model.device
        return value.to(device, non_blocking=True) if device.type == "cuda" else value

    def _shape(self, fed: tuple[int, int]) -> tuple[int, int, int]:
        return latent_shape(self.model.spec, fed)

    def _pixels(self, i: int, fed: tuple[int, int]) -> torch.Tensor:
        return floats_of(self.inputs[i].pixels(fed))
