"""The taps of transformer blocks, listed from a config alone, in the order the model computes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shiftless.taps.names import Tap


def block_taps(
    name: str,
    module: str,
    width: int,
    stride: int,
    *,
    cross: bool = True,
    inner: int = 0,
    maps: bool = True,
    modulation: tuple[str, ...] = (),
    entry: str = "{}",
) -> Iterator[Tap]:
    """List the taps of one of diffusers' `BasicTransformerBlock`s.

    name    of the block, such as "block7"          module  its path, such as "transformer_blocks.7"
    width   its channels                            stride  pixels of the image per token
    cross   whether it attends to a prompt          inner   the width inside its feed-forward layer
    maps    whether its self-attention has a map, which linear attention has not
    modulation  of a block that scales and shifts its input: `Tap.modulation`, with "{}" for the block's path; it then
            has the taps "in" and "modulated" of `joint_taps`
    entry   the module whose input is "in", with "{}" for the block's path

    >>> [tap.name for tap in block_taps("block0", "transformer_blocks.0", 8, 16, cross=False)]
    ['block0.self.q', 'block0.self.k', 'block0.self.v', 'block0.self.map', 'block0.self.map.heads', 'block0']
    """
    if modulation:
        yield from _input_taps(name, module, width, stride, "attn1", modulation, entry)
    for which, attention in (("self", "attn1"), ("cross", "attn2")):
        if which == "cross" and not cross:
            continue
        for letter in ("q", "k", "v") if which == "self" else ("q",):  # keys of words have no grid
            yield Tap(f"{name}.{which}.{letter}", width, stride, f"{module}.{attention}.to_{letter}")
        if maps or which == "cross":
            yield Tap(f"{name}.{which}.map", 0, stride, f"{module}.{attention}", "map")
            yield Tap(f"{name}.{which}.map.heads", 0, stride, f"{module}.{attention}", "heads")
    if inner:
        yield Tap(f"{name}.ffn.inner", inner, stride, f"{module}.ff.net.0")
    yield Tap(name, width, stride, module)


def width_and_stride(configs: Mapping[str, Mapping[str, Any]], patch: int | None = None) -> tuple[int, int]:
    """Return the channels of a transformer's tokens, and the pixels of the image per token, from the parts' configs.

    patch  cells of the latent a side of a token; the transformer's `patch_size` by default

    >>> transformer = {"num_attention_heads": 2, "attention_head_dim": 8, "patch_size": 2}
    >>> width_and_stride({"transformer": transformer, "vae": {"block_out_channels": [8] * 4}})
    (16, 16)
    """
    config, vae = configs["transformer"], configs["vae"]
    levels = vae.get("block_out_channels") or vae["encoder_block_out_channels"]
    side = config["patch_size"] if patch is None else patch
    return config["num_attention_heads"] * config["attention_head_dim"], 2 ** (len(levels) - 1) * side


def all_block_taps(
    configs: Mapping[str, Mapping[str, Any]],
    blocks: str = "transformer_blocks",
    *,
    cross: bool = True,
    widen: float = 4,
    modulation: tuple[str, ...] = (),
    entry: str = "{}",
) -> tuple[Tap, ...]:
    """List the taps of every block, "block0" and so on, and the means of their attention maps.

    blocks  where the blocks lie in the transformer      widen  how much wider the inside of a feed-forward layer is
    modulation, entry  as in `block_taps`

    >>> transformer = {"num_attention_heads": 2, "attention_head_dim": 8, "patch_size": 2, "num_layers": 1}
    >>> [tap.name for tap in all_block_taps({"transformer": transformer, "vae": {"block_out_channels": [8]}})][-3:]
    ['block0', 'self.map', 'cross.map']
    """
    width, stride = width_and_stride(configs)
    options: dict[str, Any] = {"cross": cross, "inner": int(widen * width), "modulation": modulation, "entry": entry}
    taps = [
        tap
        for i in range(configs["transformer"]["num_layers"])
        for tap in block_taps(f"block{i}", f"{blocks}.{i}", width, stride, **options)
    ]
    return (*taps, *map_groups(taps))


def joint_taps(
    name: str,
    module: str,
    width: int,
    stride: int,
    *,
    attention: str = "attn",
    projections: str = "",
    inner: str = "ff.net.0",
    inner_side: str = "out",
    key_width: int = 0,
    widen: float = 4,
    modulation: tuple[str, ...] = (),
    output: bool = False,
) -> Iterator[Tap]:
    """List the taps of a block that attends to text and image at once, as those of SD3 and Flux do.

    name         of the block, such as "block7"       module  its path, such as "transformer_blocks.7"
    width        its channels                         stride  pixels of the image per token
    attention    where its attention layer lies in it
    projections  where queries, keys and values lie in it, "{}" for their letter; in the attention layer by default
    inner        where the inside of its feed-forward layer lies, `widen` times as wide, on which side of that module
    key_width    the channels of keys and values, where they are fewer than those of queries
    modulation   `Tap.modulation` of its input, with "{}" for the block's path; none where no layer norm is modulated
    output       whether what its attention layer gives back, for the image, is the tap "self.out"

    Every tap is of the image; "in" is the block's input, and "modulated" is what its attention is given: the input
    normed, scaled and shifted for the timestep. "cross.map" shows how much the image looks at each word, "self.map"
    at each cell of itself; the two together sum to 1.

    >>> [tap.name for tap in joint_taps("block0", "transformer_blocks.0", 8, 16)][:4]
    ['block0.in', 'block0.modulated', 'block0.self.q', 'block0.self.k']
    """
    yield from _input_taps(name, module, width, stride, attention, modulation)
    layer, projections = f"{module}.{attention}", projections or f"{attention}.to_{{}}"
    for letter, channels in (("q", width), ("k", key_width or width), ("v", key_width or width)):
        yield Tap(f"{name}.self.{letter}", channels, stride, f"{module}.{projections.format(letter)}")
    for which, block in (("self", "image"), ("cross", "text")):
        yield Tap(f"{name}.{which}.map", 0, stride, layer, "map", block=block)
        yield Tap(f"{name}.{which}.map.heads", 0, stride, layer, "heads", block=block)
    if output:
        yield Tap(f"{name}.self.out", width, stride, layer)
    yield Tap(f"{name}.ffn.inner", int(widen * width), stride, f"{module}.{inner}", side=inner_side)
    yield Tap(name, width, stride, module)


def double_and_single_taps(
    config: Mapping[str, Any],
    width: int,
    stride: int,
    double: Mapping[str, Any] | None = None,
    single: Mapping[str, Any] | None = None,
) -> tuple[Tap, ...]:
    """List the taps of Flux's two kinds of blocks, "double0" and so on, then "single0", and the means of their maps.

    config  of the transformer      double, single  further arguments of `joint_taps` for blocks of each kind

    >>> [tap.name for tap in double_and_single_taps({"num_layers": 1, "num_single_layers": 1}, 8, 16)][9:12]
    ['double0.ffn.inner', 'double0', 'single0.in']
    """
    taps: list[Tap] = []
    for kind, count, path, options in (
        ("double", config["num_layers"], "transformer_blocks", double),
        ("single", config["num_single_layers"], "single_transformer_blocks", single),
    ):
        for i in range(count):
            taps += joint_taps(f"{kind}{i}", f"{path}.{i}", width, stride, **(options or {}))
    return (*taps, *map_groups(taps))


def _input_taps(
    name: str, module: str, width: int, stride: int, attention: str, modulation: tuple[str, ...], entry: str = "{}"
) -> Iterator[Tap]:
    """A block's input, and what its attention makes of it: normed, scaled and shifted."""
    paths = tuple(path.format(module) for path in modulation)
    yield Tap(f"{name}.in", width, stride, entry.format(module), side="in", modulation=paths)
    yield Tap(f"{name}.modulated", width, stride, f"{module}.{attention}", side="in")


def map_groups(taps: Sequence[Tap]) -> Iterator[Tap]:
    """List the mean over all blocks of each kind of attention map: "cross.map" and "self.map".

    >>> taps = list(block_taps("block0", "transformer_blocks.0", 8, 16))
    >>> [tap.name for tap in map_groups(taps)]
    ['self.map', 'cross.map']
    """
    for which in ("self", "cross"):
        members = [tap for tap in taps if tap.kind == "map" and f".{which}." in tap.name]
        if members:
            names, block = tuple(tap.name for tap in members), members[0].block
            yield Tap(f"{which}.map", 0, taps[0].stride, "", "group", members=names, block=block)
