"""LoRA injection: LoRAs act inside `with adapted(...)`; the model is bit-identical afterwards."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from shiftless.conditions.dora import Change, gained, joined, plain_change
from shiftless.conditions.lora_file import read_lora
from shiftless.conditions.lora_format import LoraFile, Pair
from shiftless.errors import BadInput
from shiftless.taps.lock import construction, exclusive

_ADAPTER = "shiftless"


@dataclass(frozen=True, eq=False)
class Injection:
    """LoRAs made ready for a model's networks: put in place and taken out again in no time, as often as wanted.

    layers   network -> module path -> peft's layer, around the network's own
    changes  network -> module path -> what the LoRAs add there
    """

    layers: Mapping[nn.Module, Mapping[str, Any]]
    changes: Mapping[nn.Module, Mapping[str, Change]]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the `with`, the LoRAs act; afterwards the networks' own layers are back where they were."""
        with ExitStack() as stack:
            for network, layers in self.layers.items():
                stack.enter_context(exclusive(network))
                stack.callback(_place, network, {path: layer.get_base_layer() for path, layer in layers.items()})
                _place(network, layers)
                for path, layer in layers.items():
                    stack.enter_context(gained(layer.get_base_layer(), self.changes[network][path]))
            yield


@contextmanager
def adapted(models: Mapping[str, nn.Module], loras: Sequence[tuple[str, float]]) -> Iterator[None]:
    """Inject LoRAs into a denoiser and its text encoders inside the `with`; all are restored afterwards.

    Arguments and errors are those of `prepared`.

    >>> with adapted({"unet": nn.Linear(2, 2)}, [("no/such/file.safetensors", 1.0)]):
    ...     pass
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: no/such/file.safetensors: no such LoRA file or folder, ...
    """
    with prepared(models, loras).in_place():
        yield


def prepared(models: Mapping[str, nn.Module], loras: Sequence[tuple[str, float]]) -> Injection:
    """Read LoRAs and make them ready for a denoiser and its text encoders, which stay as they are.

    models  part of the model -> its network: "unet" or "transformer", "text_encoder", "text_encoder_2"
    loras   (file, folder or hub id, scale) of each; several add up (Hu et al. 2021: W x + scale alpha / r B A x)

    A DoRA's scale multiplies its low-rank change before the weight is brought to its magnitude, as in peft. What is
    returned fits the weights that the networks have now. In place, hooks keep working: a layer's output, read by its
    path, has the LoRA in it. Raises BadInput for a LoRA that is missing, broken, made for another model or too large
    for the model's dtype, and for a scale that is no number.
    """
    pairs: dict[str, dict[str, list[Pair]]] = {part: {} for part in models}
    for part, model in models.items():
        if loras and _carries_adapters(model):
            raise BadInput(f"the model's {part} carries other adapters already; unload them first")
    for name, scale in loras:
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not math.isfinite(scale):
            raise BadInput(f"{name}: scale {scale!r}; give a number, such as 1.0")
        for part, fitted_pairs in fitted(read_lora(name), models).items():
            for path, pair in fitted_pairs.items():
                pairs[part].setdefault(path, []).append(replace(pair, up=pair.up.float() * scale))
    changes = {models[p]: {path: _change(models[p], path, many) for path, many in pairs[p].items()} for p in models}
    changes = {network: own for network, own in changes.items() if own}
    return Injection({network: _layers(network, own) for network, own in changes.items()}, changes)


def _carries_adapters(model: nn.Module) -> bool:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return hasattr(model, "peft_config") or any(isinstance(module, BaseTunerLayer) for module in model.modules())


def fitted(lora: LoraFile, models: Mapping[str, nn.Module | None]) -> dict[str, dict[str, Pair]]:
    """Return a LoRA's pairs by part and module path, in the shapes of these models' layers.

    Raises BadInput naming the first layer that the models do not have, or have in another size.
    """
    fits: dict[str, dict[str, Pair]] = {}
    unknown = list(lora.strange)
    wrong: str = ""
    for part, pairs in lora.parts.items():
        modules = dict(getattr(models.get(part), "named_modules", dict)())
        fits[part] = {}
        for path, pair in pairs.items():
            there = _path_in(path, modules)
            if there is None:
                unknown.append(f"{part}.{path}")
                continue
            fits[part][there] = pair = _reshaped(pair, modules[there])
            wrong = wrong or _misfit(pair, modules[there], f"{part}.{path}")
    family = f"; it seems made for {lora.made_for}" if lora.made_for else ""
    if lora.original and not hasattr(models.get("unet"), "add_embedding"):  # some layers of both are of one size
        name = f"{lora.name}: names its layers as SDXL's first code does"
        raise BadInput(f"{name}{family}; use a LoRA made for this model")
    if unknown:
        count = f"{len(unknown)} unknown key{'s' if len(unknown) > 1 else ''}, such as {unknown[0]}"
        raise BadInput(f"{lora.name}: {count}, which this model does not have{family}; use a LoRA made for this model")
    if wrong:
        raise BadInput(f"{lora.name}: does not fit this model: {wrong}{family}; use a LoRA made for this model")
    return fits


def _path_in(path: str, modules: Mapping[str, nn.Module]) -> str | None:
    """Find a layer under its name; transformers releases differ in whether `text_model.` leads a text encoder's."""
    for name in (path, path.removeprefix("text_model."), f"text_model.{path}"):
        if isinstance(modules.get(name), (nn.Linear, nn.Conv2d)):
            return name
    return None


def _reshaped(pair: Pair, module: nn.Module) -> Pair:
    """A 1 x 1 convolution and a linear layer hold the same numbers, and tools save either as the other."""
    if isinstance(module, nn.Linear) and pair.down.ndim == 4 and pair.down.shape[2:] == (1, 1):
        return replace(pair, down=pair.down[:, :, 0, 0], up=pair.up.flatten(1))
    if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and pair.down.ndim == 2:
        return replace(pair, down=pair.down[:, :, None, None], up=pair.up[:, :, None, None])
    return pair


def _misfit(pair: Pair, module: nn.Module, name: str) -> str:
    weight: Any = module.weight
    rank, kernel = pair.down.shape[0], weight.shape[2:]
    ones = [1] * len(kernel)
    if list(pair.down.shape) != [rank, weight.shape[1], *kernel] or list(pair.up.shape) != [len(weight), rank, *ones]:
        theirs, ours = [*pair.up.shape[:1], *pair.down.shape[1:]], list(weight.shape)
        return f"{name} is {' x '.join(map(str, theirs))} there and {' x '.join(map(str, ours))} here"
    if pair.magnitude is not None and list(pair.magnitude.shape) not in ([len(weight)], [1, weight.shape[1]]):
        return f"{name} has {pair.magnitude.numel()} magnitudes there and {len(weight)} outputs here"
    return ""


def _change(model: Any, path: str, pairs: Sequence[Pair]) -> Change:
    """Sum several LoRAs' changes of one layer, in the layer's dtype; raises BadInput where that cannot hold it."""
    weight = model.get_submodule(path).weight
    change = joined([plain_change(pair, weight) for pair in pairs], path)
    down, up = change.down.to(weight.dtype), change.up.to(weight.dtype)
    if not (down.isfinite().all() and up.isfinite().all()):
        raise BadInput(f"{path}: the LoRAs are too large for {weight.dtype}; use dtype='fp32' or a smaller scale")
    return replace(change, down=down, up=up)


def _layers(network: nn.Module, changes: Mapping[str, Change]) -> dict[str, Any]:
    """Make peft's layers for some changes, by path, around the network's own layers, which stay in place."""
    ranks = {path: change.down.shape[0] for path, change in changes.items()}
    with injected(network, ranks, _ADAPTER) as layers:
        for path, change in changes.items():
            for half, value in ((layers[path].lora_A, change.down), (layers[path].lora_B, change.up)):
                half[_ADAPTER].weight = nn.Parameter(value, requires_grad=False)
    return layers


def _place(network: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Put layers at their paths, in the places of those that are there."""
    for path, layer in layers.items():
        parent, _, child = path.rpartition(".")
        setattr(network.get_submodule(parent), child, layer)


@contextmanager
def injected(
    model: nn.Module, ranks: Mapping[str, int], adapter: str, *, empty: bool = True, alpha: float | None = None
) -> Iterator[dict[str, Any]]:
    """Put peft's LoRA layers around some layers of a model inside the `with`; yield them by path.

    ranks  the rank at each module path      alpha  of all of them; the rank itself (a scale of 1) by default
    empty  leave their weights on the meta device, to be filled in, instead of initialising them as peft does, to be
           trained: then they are fp32 master weights, whatever the model's dtype, so that a small update is not
           rounded away (Micikevicius et al. 2018, "Mixed precision training")

    Afterwards the layers themselves are back where they were, with their gradient flags. Other threads that use the
    model wait until then.

    >>> net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    >>> with injected(net, {"0": 2}, "mine", empty=False) as layers:
    ...     print([name for name, _ in net.named_parameters()])
    ['0.base_layer.weight', '0.base_layer.bias', '0.lora_A.mine.weight', '0.lora_B.mine.weight']
    >>> [name for name, _ in net.named_parameters()]
    ['0.weight', '0.bias']
    """
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig, inject_adapter_in_model

    common = Counter(ranks.values()).most_common(1)[0][0]
    others = {f"^{re.escape(path)}": rank for path, rank in ranks.items() if rank != common}
    config = LoraConfig(
        r=common,
        lora_alpha=common if alpha is None else alpha,
        rank_pattern=others,
        alpha_pattern=dict(others) if alpha is None else {},
        target_modules="|".join(map(re.escape, ranks)),  # a pattern that must match a whole path
    )
    with exclusive(model), _restored(model, list(ranks)) as layers:
        with construction():
            inject_adapter_in_model(config, model, adapter_name=adapter, low_cpu_mem_usage=empty)
        around: dict[str, Any] = {path: model.get_submodule(path) for path in ranks}
        for path, layer in around.items():
            layer.train(layers[path].training)
        if not empty:
            cast_training_params(model, dtype=torch.float32)
        yield around


@contextmanager
def _restored(model: nn.Module, paths: Sequence[str]) -> Iterator[dict[str, nn.Module]]:
    """Yield some layers by path; afterwards layers, flags and attributes are restored."""
    layers = {path: model.get_submodule(path) for path in paths}
    attributes, flags = dict(vars(model)), [(p, p.requires_grad) for p in model.parameters()]
    try:
        yield layers
    finally:
        _place(model, layers)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for name in set(vars(model)) - set(attributes):  # peft leaves its config on the model
            delattr(model, name)
        vars(model).update(attributes)
