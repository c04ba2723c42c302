"""Content shift on held-out photos: what a LoRA candidate is judged by, in place of the eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from shiftless.conditions.condition import Condition
from shiftless.conditions.prompt import encode_with_clip
from shiftless.noise import noise_for
from shiftless.training.lora.examples import Example


class HeldOut:
    """Photos that are never trained on, with noise that never changes."""

    def __init__(self, model: Any, examples: Sequence[Example], timesteps: Sequence[int], seed: int) -> None:
        self.model, self.examples, self.timesteps = model, list(examples), tuple(timesteps)
        self._noise = [
            noise_for(e.photo.digest, seed, 0, tuple(e.latent.shape[1:]), "held-out")[None] for e in self.examples
        ]

    @torch.no_grad()
    def errors(self) -> dict[int, float]:
        """Timestep -> mean squared error of the clean latent predicted in one step from there, without a prompt."""
        errors = {}
        for t in self.timesteps:
            each = [(self.clean(i, t) - e.latent).square().mean() for i, e in enumerate(self.examples)]
            errors[t] = float(torch.stack(each).cpu().double().mean())
        return errors

    @torch.no_grad()
    def clean(self, i: int, t: int) -> torch.Tensor:
        """The clean latent 1 c h w that the model, as it is now, sees in photo `i` at timestep `t`."""
        model = self.model
        # Not model.encode_prompt, which keeps what it has encoded: the text encoder is changing.
        embeds = encode_with_clip(model.tokenizer, model.text_encoder, "").embeds
        noisy = model.schedule.add(self.examples[i].latent, self._noise[i], t).to(model.device)
        prediction = model.denoise(noisy, t, Condition(embeds)).prediction
        return model.predict_clean(noisy, prediction, t).float().cpu()


def relative(errors: dict[int, float], base: dict[int, float]) -> float:
    """Content shift next to the base model's: the mean over timesteps of the errors' ratios; below 1 is better.

    >>> relative({50: 1.0, 100: 3.0}, {50: 2.0, 100: 4.0})
    0.625
    """
    return sum(errors[t] / max(base[t], 1e-12) for t in base) / len(base)
