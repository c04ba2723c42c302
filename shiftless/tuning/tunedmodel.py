"""TunedModel: a model with what was tuned of it; whatever reads with a backbone reads with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from shiftless.backbones.base import Reading
from shiftless.conditions.condition import Condition
from shiftless.digest import digest_of
from shiftless.image import Photo
from shiftless.taps.names import Tap
from shiftless.tuning.prompts import ImplicitPrompt, Prompt


class TunedModel:
    """A model whose denoiser is given learned prompt embeddings, or a LoRA; everything else is the model's own.

    model        a LatentModel
    fingerprint  of the model as it was tuned; features of it and of the bare model are not compared
    prompt       learned prompt embeddings, or None
    loras        files that act in every call, each with its scale, as `Steering.adapted` takes them
    mixed        compute in bfloat16 by autocast, as the denoiser's weights are fp32 masters
    checkpointing  whether the denoiser's layers are computed again in the backward pass

    >>> from shiftless.backbones.registry import load
    >>> tuned = TunedModel(load("twin:sd15"), "1f")
    >>> tuned.fingerprint, tuned.spec.name
    ('1f', 'twin:sd15')
    """

    def __init__(
        self,
        model: Any,
        fingerprint: str,
        *,
        prompt: Prompt | None = None,
        loras: Sequence[tuple[str, float]] = (),
        mixed: bool = False,
        checkpointing: bool = False,
    ) -> None:
        self.model, self.fingerprint, self.prompt, self.loras = model, fingerprint, prompt, tuple(loras)
        self.mixed, self.checkpointing = mixed, checkpointing
        self._learning = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Inside the `with`, what is read at taps keeps its graph.

        Calls without taps, which walk from one noise level to another, keep none: they are part of the input.
        """
        self._learning = True
        try:
            yield
        finally:
            self._learning = False

    def seen(self, photo: Photo) -> torch.Tensor | None:
        """Return what the learned prompt is told of a photo, 1 D; None if it looks at none."""
        return self.prompt.clip.image(photo) if isinstance(self.prompt, ImplicitPrompt) else None

    def denoise(
        self,
        latent: torch.Tensor,
        timestep: int,
        condition: Condition,
        taps: Sequence[Tap] = (),
        *,
        full: bool = False,
    ) -> Reading:
        """B c h w at `timestep` -> the taps' maps, as `Backbone.denoise`, of the tuned model."""
        learning = self._learning and bool(taps)
        with (
            torch.set_grad_enabled(learning),
            torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.mixed),
            self.model.adapted(self.loras) if self.loras else nullcontext(),
        ):
            condition = condition if self.prompt is None else self.prompt(condition)
            if not learning:
                read: Reading = self.model.denoise(latent, timestep, condition, taps, full=full)
                return read
            # a hook that stopped the pass inside a checkpointed layer would leave the layer half done
            full = full or self.checkpointing
            return self.model.denoise_with_grad(latent, timestep, condition, taps, full=full)


def fingerprint_of(base: str, digests: Mapping[str, str]) -> str:
    """Return the fingerprint of a model with what was tuned of it.

    base     the model's own, before it was tuned
    digests  file -> digest of its content

    >>> fingerprint_of("1f", {"lora.safetensors": "2e"}) == fingerprint_of("1f", {"lora.safetensors": "3d"})
    False
    """
    return digest_of("tuned", base, dict(digests))
