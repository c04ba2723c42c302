"""The embedded weights: a small latent diffusion model of a drawn world, in diffusers' own folder format."""

from __future__ import annotations

from pathlib import Path


def weights() -> Path:
    """Return the folder of the embedded model; a ControlNet, a captioner, LoRAs, heads and an oracle lie in it.

    >>> (weights() / "model_index.json").is_file()
    True
    """
    return Path(__file__).parent / "weights"
