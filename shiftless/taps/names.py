"""Tap names: the grammar, globs, the papers' aliases, and helpful errors.

    up1                         a block's output (after its upsampler, if it has one)
    up1.res2                    a residual layer's output        up1.res2.increment   what it added
    up1.attn0                   a transformer's output           up1.attn0.block0     one of its blocks
    up1.attn0.block0.self.q     queries (k, v too)               up1.attn0.block0.cross.q
    up1.attn0.block0.ffn.inner  inside the feed-forward layer
    up1.attn0.block0.cross.map  attention, mean over heads: one channel a prompt token
    ....cross.map.heads         the same for each head           ....cross.map:horse  for one prompt word
    up.cross.map.s16            mean over heads and over every layer of the up blocks with stride 16
    both.cross.map.s16          the same over the down and the up blocks
    down0.downsampler  up1.upsampler  mid  mid.res0  mid.attn0
    block3                          a transformer block's output    block3.in      its input
    block3.modulated                what its attention is given: the input normed, scaled and shifted
    single8.self.out                what Flux's attention gives back for the image
    block3.self.map  block3.cross.map   in joint attention: weights of the image's and of the text's keys

Stars and question marks are globs (`up*.cross.map.s*`, `up?.res*`); a glob skips nothing but itself must match.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from shiftless.errors import BadInput


@dataclass(frozen=True)
class Tap:
    """A named place to read; data, known before any weight is loaded.

    channels  of the B C H W map; 0 where the prompt's length decides
    stride    pixels of the image that the model sees, per cell
    module    path of the hooked module inside the denoiser ("" for a group)
    kind      "out" of a module, or derived from q and k: "map" (mean over heads), "heads" or "group"
    members   for a group: the maps that are averaged
    word      for a map: the prompt word whose tokens are averaged, or "" for every token
    side      which side of the module is read: "out", or "in" for its first input
    block     for a map of joint attention: whose keys it shows, "text" or "image"; their weights sum to less than 1
    modulation  for the input of a block that scales and shifts it (AdaLN): the path of the module whose output begins
              with the shift and the scale, and of what else belongs to them, as `shiftless.taps.modulation` says
    """

    name: str
    channels: int
    stride: int
    module: str
    kind: str = "out"
    members: tuple[str, ...] = ()
    word: str = ""
    side: str = "out"
    block: str = ""
    modulation: tuple[str, ...] = field(default=(), compare=False)

    @property
    def over_words(self) -> bool:
        """Whether an attention map has a channel for each token of the prompt, in place of each cell of the image.

        >>> Tap("cross.map", 0, 16, "", "group").over_words, Tap("self.map", 0, 16, "", "group").over_words
        (True, False)
        """
        return self.kind != "out" and "cross" in self.name.partition(":")[0].split(".")


_REFERENCE = (  # names of the GDF code, and of GATE which builds on it
    (re.compile(r"^(up|down)-level(\d+)"), r"\1\2"),
    (re.compile(r"^mid-"), "mid."),
    (re.compile(r"^mid\.vit"), "mid.attn0"),
    (re.compile(r"-repeat(\d+)-vit"), r".attn\1"),
    (re.compile(r"-repeat(\d+)-res"), r".res\1"),
    (re.compile(r"^mid\.repeat(\d+)-res"), r"mid.res\1"),
    (re.compile(r"-increment$"), ".increment"),
    (re.compile(r"-(upsampler|downsampler)-out$"), r".\1"),
    (re.compile(r"-block(\d+)"), r".block\1"),
    (re.compile(r"-(self|cross)-(q|k|v|map)$"), r".\1.\2"),
    (re.compile(r"-ffn-inner$"), ".ffn.inner"),
    (re.compile(r"-out$"), ""),
)


def from_alias(name: str) -> str:
    """Translate a paper's tap name into ours; any other name is returned as it is.

    GDF's cross-map and self-map are kept for each head. DIFT counts up blocks; GDF groups attention maps.
    ddpm-segmentation's output blocks are those of its 256-pixel networks: three a level, attention in the first nine.

    >>> from_alias("up-level1-repeat1-vit-block0-cross-q")
    'up1.attn1.block0.cross.q'
    >>> from_alias("up_ft_index=1"), from_alias("up_cross"), from_alias("mid-vit-out")
    ('up1', 'up.cross.map.s[13][26]', 'mid.attn0')
    >>> [from_alias(f"output_blocks.{n}") for n in (5, 6, 12)]
    ['up1', 'up2.attn0', 'up4.res0']
    """
    if alias := re.fullmatch(r"output_blocks\.(\d+)", name):
        block, layer = divmod(int(alias[1]), 3)
        return f"up{block}" if layer == 2 else f"up{block}.{'attn' if block < 3 else 'res'}{layer}"
    if alias := re.fullmatch(r"up_ft(?:_index=)?(\d+)", name):
        return f"up{alias[1]}"
    if alias := re.fullmatch(r"(up|mid|down)_(self|cross)", name):
        return f"{alias[1]}.{alias[2]}.map.s[13][26]"  # strides 16 and 32, as GDF limits them
    if not re.match(r"(up|down)-level\d|mid-(vit|repeat)", name):
        return name
    for pattern, ours in _REFERENCE:
        name = pattern.sub(ours, name)
    return name + ".heads" if name.endswith(".map") else name


def select(requests: Sequence[str], taps: Sequence[Tap], model: str = "this model") -> tuple[Tap, ...]:
    """Return the taps that names, aliases and globs ask for: in the order asked for, each once.

    Raises BadInput with the nearest right names for one that matches nothing.

    >>> known = [Tap("up1", 8, 16, "a"), Tap("up2", 4, 8, "b"), Tap("up2.attn0.block0.cross.map", 0, 8, "c", "map")]
    >>> [tap.name for tap in select(["up?"], known)]
    ['up1', 'up2']
    >>> select(["up2.attn0.block0.cross.map:horse"], known)[0].word
    'horse'
    >>> select(["upp1"], known, "toy")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: toy has no tap 'upp1'; nearest: up1, up2; `shiftless taps toy` lists them all
    """
    by_name = {tap.name: tap for tap in taps}
    chosen: dict[str, Tap] = {}
    for request in requests:
        plain, _, word = from_alias(request.strip()).partition(":")
        if plain in by_name:
            matching = [by_name[plain]]
        else:
            # A plain star means outputs and groups; maps for each head must be named, they are large.
            matching = [t for t in taps if fnmatchcase(t.name, plain) and (t.kind != "heads" or "heads" in plain)]
        if not matching:
            near = difflib.get_close_matches(plain, by_name, n=4, cutoff=0.3)
            near = [n for n in near if not n.endswith(".heads")][:3] or list(by_name)[:3]
            raise BadInput(
                f"{model} has no tap {request!r}{_why(plain, by_name)}; nearest: {', '.join(near)}; "
                f"`shiftless taps {model}` lists them all"
            )
        for tap in matching:
            if word:
                if tap.kind not in ("map", "group") or not tap.over_words:
                    raise BadInput(f"tap {request!r}: ':{word}' picks a prompt word, so it needs a cross-attention map")
                tap = replace(tap, name=f"{tap.name}:{word}", channels=1, word=word)
            chosen.setdefault(tap.name, tap)
    return tuple(chosen.values())


def _why(name: str, known: Iterable[str]) -> str:
    """Why a network has no tap of a name, if that is known: attention that is linear has queries, but no map."""
    listed = list(known)
    maps, queries = (any(kind in one for one in listed) for kind in ("self.map", "self.q"))
    return ", since its self-attention is linear and has no map" if "self.map" in name and queries and not maps else ""
