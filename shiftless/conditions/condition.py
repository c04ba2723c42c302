"""Condition: the inputs of a denoiser besides the noisy latent: text, control, and what a family adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

IMAGE_PROMPT = "image_prompt"
"""What the embeddings of image prompts are called in a Condition's `extra`, followed by their number."""

SEEN = "seen"
"""What a model that looks at the photo itself is given, in a Condition's `extra`: the photo's embedding, B D."""

MASK, MASKED_IMAGE = "mask", "masked_image"
"""What a model for inpainting takes, in a Condition's `extra`: B 1 h w and B c h w, in cells of the latent."""


@dataclass(frozen=True, eq=False)
class Steer:
    """One control network, applied to B images.

    net    a network of one of diffusers' classes of control networks
    image  what it is given of the images: for UNets the map that it follows, B 3 H W in [0, 1], as large as the
           image that was fed; for transformers the map's latent, B c h w
    scale  its strength
    mode   the number that a union of networks knows this kind of map by, or None
    """

    net: Any
    image: torch.Tensor
    scale: float = 1.0
    mode: int | None = None


@dataclass(frozen=True, eq=False)
class Condition:
    """What steers one denoiser call, for B images at once.

    embeds  B T D prompt embeddings, or None for a model that takes no text
    words   for each image, the T token texts ("" for padding), so that maps can be read per word
    extra   other tensors that a family's denoiser takes (pooled embeddings, size tokens, masks), each B ...
    steers  the ControlNets that add their residuals, in order

    >>> Condition(torch.zeros(1, 77, 8), (("horse",),)).steers
    ()
    """

    embeds: torch.Tensor | None = None
    words: tuple[tuple[str, ...], ...] = ()
    extra: dict[str, torch.Tensor] = field(default_factory=dict)
    steers: tuple[Steer, ...] = ()


def take(condition: Condition, rows: Sequence[int]) -> Condition:
    """Return some images' rows of a condition, in the given order; a row may be repeated.

    >>> two = Condition(torch.zeros(2, 77, 8), (("horse",), ("cow",)))
    >>> take(two, [1]).words, take(two, [1, 1]).embeds.shape
    ((('cow',),), torch.Size([2, 77, 8]))
    """
    index = list(rows)
    return Condition(
        None if condition.embeds is None else condition.embeds[index],
        tuple(condition.words[i] for i in index) if condition.words else (),
        {name: value[index] for name, value in condition.extra.items()},
        tuple(replace(steer, image=steer.image[index]) for steer in condition.steers),
    )


def join(conditions: Sequence[Condition]) -> Condition:
    """Stack conditions into one for a batch; they must be of one kind (equal T, the same ControlNets and scales).

    >>> one = Condition(torch.zeros(1, 77, 8), (("horse",),))
    >>> join([one, one]).embeds.shape
    torch.Size([2, 77, 8])
    """
    first = conditions[0]
    embeds = [c.embeds for c in conditions if c.embeds is not None]
    extra = {name: torch.cat([c.extra[name] for c in conditions]) for name in first.extra}
    steers = tuple(
        replace(one, image=torch.cat([c.steers[i].image for c in conditions])) for i, one in enumerate(first.steers)
    )
    words = tuple(words for c in conditions for words in c.words)
    return Condition(torch.cat(embeds) if embeds else None, words, extra, steers)


def image_embeds(condition: Condition) -> list[torch.Tensor]:
    """Return the embeddings of a condition's image prompts in order, each B 1 D or B 1 N D, as IP-Adapters take them.

    >>> image_embeds(Condition(extra={"image_prompt0": torch.zeros(2, 1, 8)}))[0].shape
    torch.Size([2, 1, 8])
    """
    numbers = sorted(int(name.removeprefix(IMAGE_PROMPT)) for name in condition.extra if name.startswith(IMAGE_PROMPT))
    return [condition.extra[f"{IMAGE_PROMPT}{number}"] for number in numbers]
