"""What is tuned lies and learns on the model's device."""

from __future__ import annotations

import torch

from shiftless.backbones.registry import load
from shiftless.recipe import Recipe
from shiftless.tuning import TuneSettings, tuning
from tests.simulated_device import simulated


def test_gradients_are_those_of_the_cpu(monkeypatch):
    recipe, settings, found = Recipe(taps=("up0",)), TuneSettings("unet", "classes", checkpointing=False), []

    def gradients(device):
        model = load("twin:sd15", device=device, dtype="fp32")
        (tap,) = [tap for tap in model.taps if tap.name == "up0"]
        latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        with tuning(model, [recipe], settings, ["sky", "road"]) as learned:
            with learned.model.learning():
                maps = learned.model.denoise(latent, 20, model.encode_prompt(["a horse"]), [tap]).maps
            maps["up0"].square().mean().backward()
            weights = [weight for group, _ in learned.groups() for weight in group if weight.grad is not None]
            assert {weight.device.type for weight in weights} == {torch.device(device).type}
            kept = learned.tensors()
            learned.restore({name: one.cpu().clone() for name, one in kept.items()})
            return torch.cat([weight.grad.cpu().flatten() for weight in weights])

    found.append(gradients("cpu"))
    with simulated("cuda:1", monkeypatch) as device:
        found.append(gradients(device))
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-3)
