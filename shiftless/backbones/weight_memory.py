"""How much memory the weights of a model take on the device: offloaded or not, quantised or not, from its configs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from shiftless.backbones.families import family
from shiftless.backbones.offload import LAYERS, PARTS, blocks_of
from shiftless.backbones.quantise import PACKAGES, bytes_of, quantisable

PLAIN = "bf16"
PRECISIONS = (PLAIN, *PACKAGES)
PLACES = ("", PARTS, LAYERS)
_EACH = 2  # bytes of a number in bf16 and fp16


def weight_memory(row: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Return the memory in GB (1e9 bytes) that the weights of a row of models.json take on the device at most.

    The keys are how they are kept ("bf16", "int8", "nf4") and how they are offloaded ("", "parts", "layers"). What is
    computed with them comes on top, and so do ControlNets and image prompts.

    >>> from shiftless.backbones.registry import models
    >>> needed = weight_memory(models()["flux-schnell"])
    >>> [round(needed[key], 1) for key in (("bf16", ""), ("bf16", "parts"), ("nf4", "parts"))]
    [33.7, 23.8, 6.7]
    """
    adapter = family(row["family"])
    with torch.device("meta"):
        made = adapter.twin_parts(row, full=True)
    networks = {part: network for part, network in made.items() if isinstance(network, nn.Module)}
    autoencoder = getattr(adapter, "AUTOENCODER", "")
    text = [networks[part] for part in getattr(adapter, "TEXT_ENCODERS", ())]
    denoiser = [one for part, one in networks.items() if part != autoencoder and not any(one is t for t in text)]
    codec = [networks[autoencoder]] if autoencoder else []
    needed = {}
    for kept in PRECISIONS:
        steered = [one for network in (*denoiser, *text) for one in _quantised(network, kept)]
        sizes = dict(steered)
        whole = [_total(several, sizes) for several in (denoiser, text, codec)]
        by_layers = [_largest(several, sizes) for several in (denoiser, text)]
        needed[kept, ""], needed[kept, PARTS] = sum(whole), max(whole)
        needed[kept, LAYERS] = max(*by_layers, whole[-1])
    return {key: size / 1e9 for key, size in needed.items()}


def _quantised(network: nn.Module, kept: str) -> Iterable[tuple[int, float]]:
    """The identity of each weight that is quantised, and the bytes that it then takes."""
    if kept != PLAIN:
        for _, layer in quantisable(network):
            yield id(layer.weight), bytes_of(layer, kept)


def _total(modules: Sequence[nn.Module], sizes: Mapping[int, float]) -> float:
    tensors = {id(one): one for module in modules for one in module.state_dict(keep_vars=True).values()}
    return sum(sizes.get(key, one.numel() * _EACH) for key, one in tensors.items())


def _largest(networks: Sequence[nn.Module], sizes: Mapping[int, float]) -> float:
    """What of some networks is there at once by layers: all that is in no block, and the largest block of each."""
    needed = 0.0
    for network in networks:
        blocks = [_total([block], sizes) for block in blocks_of(network)]
        needed += _total([network], sizes) - sum(blocks) + max(blocks, default=0.0)
    return needed
