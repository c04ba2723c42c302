"""The taps of a UNet2DConditionModel or UNet2DModel, listed from its config alone, in the order it computes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shiftless.taps.names import Tap


def unet_taps(config: Mapping[str, Any], latent_stride: int) -> tuple[Tap, ...]:
    """List every tap of a UNet2DConditionModel or a UNet2DModel.

    latent_stride  pixels of the image per cell of the latent: 8 for Stable Diffusion, 1 where pixels are denoised

    >>> config = {"block_out_channels": [32, 64], "layers_per_block": 1,
    ...           "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    ...           "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"]}
    >>> [(tap.name, tap.channels, tap.stride) for tap in unet_taps(config, 4) if "." not in tap.name]
    [('down0', 32, 8), ('down1', 64, 8), ('mid', 64, 8), ('up0', 64, 4), ('up1', 32, 4)]
    """
    listed = list(_walk(config, latent_stride))
    return (*listed, *_groups(listed))


def _walk(config: Mapping[str, Any], stride: int) -> Iterator[Tap]:
    channels: Sequence[int] = config["block_out_channels"]
    levels = len(channels)
    layers = _each(config.get("layers_per_block", 2), levels)
    depth = _each(config.get("transformer_layers_per_block", 1), levels)
    up_depth = config.get("reverse_transformer_layers_per_block") or list(reversed(depth))
    for level, kind in enumerate(config["down_block_types"]):
        path, width = f"down_blocks.{level}", channels[level]
        for layer in range(layers[level]):
            yield from _layer(f"down{level}", path, layer, width, stride, kind, depth[level])
        if level < levels - 1:
            stride *= 2
            yield Tap(f"down{level}.downsampler", width, stride, f"{path}.downsamplers.0")
        yield Tap(f"down{level}", width, stride, path)
    middle = config.get("mid_block_type", "UNetMidBlock2DCrossAttn")
    if middle:
        width = channels[-1]
        yield from _resnet("mid.res0", "mid_block.resnets.0", width, stride)
        if "CrossAttn" in middle:
            yield from _transformer("mid.attn0", "mid_block.attentions.0", width, stride, depth[-1])
        elif config.get("add_attention"):
            yield from _attention("mid.attn0", "mid_block.attentions.0", width, stride)
        yield from _resnet("mid.res1", "mid_block.resnets.1", width, stride)
        yield Tap("mid", width, stride, "mid_block")
    for level, kind in enumerate(config["up_block_types"]):
        path, width = f"up_blocks.{level}", channels[levels - 1 - level]
        for layer in range(layers[levels - 1 - level] + 1):
            yield from _layer(f"up{level}", path, layer, width, stride, kind, up_depth[level])
        if level < levels - 1:
            stride //= 2
            yield Tap(f"up{level}.upsampler", width, stride, f"{path}.upsamplers.0")
        yield Tap(f"up{level}", width, stride, path)


def _each(value: int | Sequence[int], levels: int) -> list[int]:
    return [value] * levels if isinstance(value, int) else list(value)


def _layer(name: str, path: str, layer: int, width: int, stride: int, kind: str, blocks: int) -> Iterator[Tap]:
    yield from _resnet(f"{name}.res{layer}", f"{path}.resnets.{layer}", width, stride)
    if "CrossAttn" in kind:
        yield from _transformer(f"{name}.attn{layer}", f"{path}.attentions.{layer}", width, stride, blocks)
    elif kind.startswith("Attn"):
        yield from _attention(f"{name}.attn{layer}", f"{path}.attentions.{layer}", width, stride)


def _resnet(name: str, path: str, width: int, stride: int) -> Iterator[Tap]:
    yield Tap(f"{name}.increment", width, stride, f"{path}.conv2")
    yield Tap(name, width, stride, path)


def _transformer(name: str, path: str, width: int, stride: int, blocks: int) -> Iterator[Tap]:
    for block in range(blocks):
        inside, module = f"{name}.block{block}", f"{path}.transformer_blocks.{block}"
        for which, attention in (("self", "attn1"), ("cross", "attn2")):
            for letter in ("q", "k", "v") if which == "self" else ("q",):  # keys of words have no grid
                yield Tap(f"{inside}.{which}.{letter}", width, stride, f"{module}.{attention}.to_{letter}")
            yield Tap(f"{inside}.{which}.map", 0, stride, f"{module}.{attention}", "map")
            yield Tap(f"{inside}.{which}.map.heads", 0, stride, f"{module}.{attention}", "heads")
        yield Tap(f"{inside}.ffn.inner", 4 * width, stride, f"{module}.ff.net.0")
        yield Tap(inside, width, stride, module)
    yield Tap(name, width, stride, path)


def _attention(name: str, path: str, width: int, stride: int) -> Iterator[Tap]:
    """Self-attention alone, as networks without a prompt have it."""
    for letter in ("q", "k", "v"):
        yield Tap(f"{name}.self.{letter}", width, stride, f"{path}.to_{letter}")
    yield Tap(f"{name}.self.map", 0, stride, path, "map")
    yield Tap(f"{name}.self.map.heads", 0, stride, path, "heads")
    yield Tap(name, width, stride, path)


def _groups(taps: Sequence[Tap]) -> Iterator[Tap]:
    """The mean of all maps of one part of the network at one stride, as GATE uses them; of both sides, as VPD does."""
    for part, begins in (("down", ("down",)), ("mid", ("mid",)), ("up", ("up",)), ("both", ("down", "up"))):
        for which in ("self", "cross"):
            maps = [t for t in taps if t.kind == "map" and t.name.startswith(begins) and f".{which}." in t.name]
            for stride in sorted({t.stride for t in maps}, reverse=True):
                members = tuple(t.name for t in maps if t.stride == stride)
                yield Tap(f"{part}.{which}.map.s{stride}", 0, stride, "", "group", members=members)
