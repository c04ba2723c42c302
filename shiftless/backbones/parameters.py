"""How large a model is: the numbers in the weights of its parts, counted from its configs without making any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from shiftless.backbones.families import family


def count_parameters(row: Mapping[str, Any]) -> dict[str, float]:
    """Count the parameters of every network that `load` loads for a row of models.json: part -> millions.

    The networks are built by their own classes on torch's "meta" device, where nothing is allocated. Buffers that
    are saved with the weights (positions, running means) count too, and tied weights count once.

    >>> from shiftless.backbones.registry import models
    >>> count_parameters(models()["sd15"])
    {'unet': 859.5, 'vae': 83.7, 'text_encoder': 123.1}
    """
    with torch.device("meta"):
        parts = family(row["family"]).twin_parts(row, full=True)
    networks = {"network" if part == "." else part: network for part, network in parts.items()}
    return {part: count(network) for part, network in networks.items() if isinstance(network, torch.nn.Module)}


def count(network: torch.nn.Module) -> float:
    """Return the numbers in the weights of a network, in millions, to one decimal.

    >>> count(torch.nn.Linear(1000, 1000))
    1.0
    """
    distinct = {id(tensor): tensor.numel() for tensor in network.state_dict(keep_vars=True).values()}
    return round(sum(distinct.values()) / 1e6, 1)
