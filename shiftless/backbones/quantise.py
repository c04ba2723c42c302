"""Quantised weights: linear layers of the large networks in 8 or 4 bits, by torchao and bitsandbytes."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from shiftless.conditions.silence import silenced
from shiftless.errors import BadInput, first_line

PACKAGES = {"int8": "torchao", "nf4": "bitsandbytes"}
"""How weights may be quantised -> the package that does it."""
_BLOCK = 64  # weights that share a scale in nf4
_UNCALLED = ("HunyuanDiTAttentionPool", "MultiheadAttention")  # they take the weights of layers that they do not call
_SMALL = ("CLIPTextModel", "CLIPTextModelWithProjection", "BertModel")  # text encoders that stay as they are


def choose_quantise(quantise: str) -> str:
    """Return how weights are quantised, "" for not at all; its package is there.

    Raises BadInput for a name that is not known, and for a package that is not installed.

    >>> choose_quantise("")
    ''
    """
    if quantise and quantise not in PACKAGES:
        raise BadInput(f"quantise={quantise!r}: must be {' or '.join(PACKAGES)}, or be left out")
    if quantise:
        try:
            with silenced():
                importlib.import_module(PACKAGES[quantise])
        except Exception as error:  # such a package may be there and not fit this torch
            reason = first_line(error)
            raise BadInput(
                f"quantise={quantise!r}: needs {PACKAGES[quantise]} ({reason}); install it with: "
                "pip install 'shiftless[quantise]'"
            ) from None
    return quantise


def quantisable(network: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Yield the layers of a network that are quantised, each with its path.

    They are its linear layers, but for those that its class keeps in high precision, shares with an embedding or never
    calls, and the last one of a language model. None are in a small text encoder.

    >>> [path for path, _ in quantisable(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(4, 4)))]
    ['1']
    """
    if type(network).__name__ in _SMALL:
        return
    kept = set(getattr(network, "_keep_in_fp32_modules", None) or ())
    last = getattr(network, "get_output_embeddings", lambda: None)()
    embedded = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
    uncalled = [path for path, module in network.named_modules() if type(module).__name__ in _UNCALLED]
    for path, module in network.named_modules():
        if any(path.startswith(f"{parent}.") for parent in uncalled):
            continue
        taken = module is not last and not kept & set(path.split("."))
        if taken and isinstance(module, nn.Linear) and id(module.weight) not in embedded:
            yield path, module


@torch.no_grad()
def quantise_weights(network: nn.Module, how: str) -> None:
    """Quantise the weights of a network's `quantisable` layers in place, where they lie.

    "int8": whole numbers from -128 to 127, with a scale a row (torchao). "nf4": one of 16 levels of the normal
    distribution for each weight, with a scale for 64 of them (Dettmers et al. 2023, "QLoRA", section 3; bitsandbytes).
    Layers compute in the dtype that they had. Biases and all other layers stay as they are.
    """
    layers = list(quantisable(network))
    with silenced():
        if how == "int8":
            from torchao.quantization import Int8WeightOnlyConfig, quantize_

            chosen = {id(layer) for _, layer in layers}
            quantize_(network, Int8WeightOnlyConfig(), lambda module, _path: id(module) in chosen)
            return
        for path, layer in layers:
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, _in_four_bits(layer))


def _in_four_bits(layer: nn.Linear) -> nn.Module:
    import bitsandbytes

    sizes = (layer.in_features, layer.out_features)
    options: dict[str, Any] = {"compute_dtype": layer.weight.dtype, "quant_type": "nf4", "device": "meta"}
    made = bitsandbytes.nn.Linear4bit(*sizes, bias=layer.bias is not None, **options)
    stored: dict[str, Any] = {"quant_type": "nf4", "compress_statistics": False, "module": made}
    made.weight = bitsandbytes.nn.Params4bit(layer.weight.data, requires_grad=False, **stored)
    made.bias = layer.bias
    made.support_avx512bf16_for_cpu = False  # on such a CPU it would pack its weights anew when it is first called
    quantised: nn.Module = made.to(layer.weight.device).eval()  # moving it quantises it
    quantised.quant_state = None  # type: ignore[assignment]  # the weight has it; here it would stay on a device
    return quantised


def bytes_of(layer: nn.Linear, how: str) -> float:
    """Return the bytes that a layer's weight takes once it is quantised, with its scales.

    >>> layer = nn.Linear(1000, 10)
    >>> bytes_of(layer, "int8"), bytes_of(layer, "nf4")
    (10040, 5625.0)
    """
    weights: int = layer.weight.numel()
    return weights + 4 * len(layer.weight) if how == "int8" else weights / 2 + 4 * weights / _BLOCK
