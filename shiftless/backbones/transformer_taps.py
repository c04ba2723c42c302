"""The taps of transformer blocks, listed from a config alone, in the order the model computes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shiftless.taps.names import Tap


def block_taps(
    name: str, module: str, width: int, stride: int, *, cross: bool = True, inner: int = 0, maps: bool = True
) -> Iterator[Tap]:
    """List the taps of one of diffusers' `BasicTransformerBlock`s.

    name    of the block, such as "block7"          module  its path, such as "transformer_blocks.7"
    width   its channels                            stride  pixels of the image per token
    cross   whether it attends to a prompt          inner   the width inside its feed-forward layer
    maps    whether its self-attention has a map, which linear attention has not

    >>> [tap.name for tap in block_taps("block0", "transformer_blocks.0", 8, 16, cross=False)]
    ['block0.self.q', 'block0.self.k', 'block0.self.v', 'block0.self.map', 'block0.self.map.heads', 'block0']
    """
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


def map_groups(taps: Sequence[Tap]) -> Iterator[Tap]:
    """List the mean over all blocks of each kind of attention map: "cross.map" and "self.map".

    >>> taps = list(block_taps("block0", "transformer_blocks.0", 8, 16))
    >>> [tap.name for tap in map_groups(taps)]
    ['self.map', 'cross.map']
    """
    for which in ("self", "cross"):
        members = tuple(tap.name for tap in taps if tap.kind == "map" and f".{which}." in tap.name)
        if members:
            yield Tap(f"{which}.map", 0, taps[0].stride, "", "group", members=members)
