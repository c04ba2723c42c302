"""The embedded weights: small models of a drawn world, in the folder formats of diffusers and transformers."""

from __future__ import annotations

from pathlib import Path

_FOLDERS = {"mini": ".", "mini-mae": "mae", "mini-ddpm": "ddpm"}  # embedded models, by their places in `weights()`


def weights() -> Path:
    """Return the folder of the embedded model; a ControlNet, a captioner, LoRAs, heads and an oracle lie in it.

    >>> (weights() / "model_index.json").is_file()
    True
    """
    return Path(__file__).parent / "weights"


def embedded() -> dict[str, Path]:
    """List the embedded models whose weights are there, the latent diffusion model first: name -> folder.

    >>> next(iter(embedded()))
    'mini'
    """
    folders = {name: weights() / folder for name, folder in _FOLDERS.items()}
    files = ("model_index.json", "config.json")
    return {name: folder for name, folder in folders.items() if any((folder / file).is_file() for file in files)}
