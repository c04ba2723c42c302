"""Learned prompt embeddings: further tokens behind the prompt's own, one for each class in its place, or captions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shiftless.backbones.base import Backbone
from shiftless.backbones.clip_folder import ClipFolder, open_clip
from shiftless.conditions.condition import SEEN, Condition
from shiftless.digest import in_order
from shiftless.errors import BadInput

_GAMMA = 1e-4
_PROMPT = "a photo of a {}"


class TokenPrompt(nn.Module):
    """N learned tokens that stand behind those of the prompt, which stay as they are.

    start  N D: what they begin as

    Source: Lester et al., EMNLP 2021 (prompt tuning).

    >>> prompt = TokenPrompt(torch.zeros(2, 8))
    >>> prompt(Condition(torch.ones(3, 77, 8), (("horse",),) * 3)).embeds.shape
    torch.Size([3, 79, 8])
    """

    kind = "tokens"

    def __init__(self, start: torch.Tensor) -> None:
        super().__init__()
        self.tokens = nn.Parameter(start.detach().float().clone())

    def forward(self, condition: Condition) -> Condition:
        """Return a condition of B images with the tokens behind its own."""
        embeds = condition.embeds
        assert embeds is not None
        own = self.tokens.to(embeds.dtype).expand(len(embeds), -1, -1)
        words = tuple((*one, *[""] * len(self.tokens)) for one in condition.words)
        return replace(condition, embeds=torch.cat([embeds, own], 1), words=words)


class ClassPrompt(nn.Module):
    """One token for each class in the place of the prompt: its text embedding, adapted by a small residual network.

    classes  L D, the text embeddings, which stay as they are      names  of the classes

    Each is e + gamma MLP(e), with a gamma for each of the D channels that begins at 1e-4 and an MLP of one hidden layer
    of D with GELU. Source: Zhao et al., ICCV 2023 (VPD), section 3.

    >>> prompt = ClassPrompt(torch.zeros(5, 8), "abcde")
    >>> prompt(Condition(torch.ones(3, 77, 8))).embeds.shape
    torch.Size([3, 5, 8])
    """

    kind = "classes"

    def __init__(self, classes: torch.Tensor, names: Sequence[str]) -> None:
        super().__init__()
        width = classes.shape[1]
        self.names = tuple(names)
        self.register_buffer("classes", classes.detach().float().clone())
        self.gamma = nn.Parameter(torch.full((width,), _GAMMA))
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, condition: Condition) -> Condition:
        """Return a condition of B images with the classes in the place of its prompt."""
        embeds = condition.embeds
        assert embeds is not None
        classes: Any = self.classes
        with torch.autocast(classes.device.type, enabled=False):
            adapted = classes + self.gamma * self.mlp(classes)
        own = adapted.to(embeds.dtype).expand(len(embeds), -1, -1)
        return replace(condition, embeds=own, words=(tuple(f"{name} " for name in self.names),) * len(embeds))


class ImplicitPrompt(nn.Module):
    """What a CLIP sees of the photo, added to the embeddings of the prompt's T tokens: an implicit caption.

    clip    what embeds photos (`open_clip`); it learns nothing and is not saved
    tokens  T, `width` D of the prompt's embeddings

    Each token is e + tanh(gate) * (W image + b + position), with a gate and a position of its own for each of the D
    channels. Gates begin at zero, so that the first caption is the prompt. Source: Xu et al., CVPR 2023 (ODISE), its
    implicit captioner; the same MLP of one layer as in its code.
    """

    kind = "implicit"

    def __init__(self, clip: ClipFolder, tokens: int, width: int) -> None:
        super().__init__()
        self.clip = clip
        self.project = nn.Linear(clip.width, width)
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.zeros(tokens, width), std=0.02))
        self.gate = nn.Parameter(torch.zeros(tokens, width))

    def forward(self, condition: Condition) -> Condition:
        """Return a condition of B images whose prompts say what CLIP sees; raises BadInput for another length."""
        embeds, seen = condition.embeds, condition.extra[SEEN]
        assert embeds is not None
        if embeds.shape[1:] != self.gate.shape:
            raise BadInput(f"prompts of {embeds.shape[1]} tokens; implicit captions were learned for {len(self.gate)}")
        with torch.autocast(seen.device.type, enabled=False):
            added = self.gate.tanh() * (self.project(seen)[:, None] + self.positions)
        extra = {name: value for name, value in condition.extra.items() if name != SEEN}
        return replace(condition, embeds=embeds + added.to(embeds.dtype), extra=extra)


Prompt = TokenPrompt | ClassPrompt | ImplicitPrompt


def new_prompt(
    model: Backbone, kind: str, tokens: int, classes: Sequence[str], clip: ClipFolder | None = None
) -> Prompt:
    """Return learned prompt embeddings as they begin, on the model's device: copies of the last tokens of the empty
    prompt, the embeddings of the classes' names, or an implicit caption by a CLIP. Weights begin at random, from
    torch's own generator. Raises BadInput for an implicit caption without a CLIP.

    >>> from shiftless.backbones.registry import load
    >>> new_prompt(load("twin:sd15", dtype="fp32"), "tokens", 4, ()).tokens.shape
    torch.Size([4, 32])
    """
    if kind == "classes":
        return ClassPrompt(class_embeddings(model, classes), classes).to(model.device)
    embeds = model.encode_prompt([""]).embeds
    assert embeds is not None
    if kind == "implicit":
        if clip is None:
            raise BadInput("prompts='implicit': a CLIP looks at the photos; give its folder (--clip, or open_clip)")
        return ImplicitPrompt(clip, *embeds.shape[1:]).to(model.device)
    last = embeds[0, -min(tokens, embeds.shape[1] - 1) :]
    return TokenPrompt(last[torch.arange(tokens) % len(last)]).to(model.device)


def class_embeddings(model: Backbone, names: Sequence[str]) -> torch.Tensor:
    """Return the text embedding of each class, L D float32: CLIP's pooled one of "a photo of a NAME".

    It is the last hidden state at the token that ends the text. Raises BadInput for a model whose denoiser takes
    embeddings of another kind, and for a name that is too long for its text encoder.
    """
    encoder: Any = getattr(model, "networks", {}).get("text_encoder")
    hidden = getattr(getattr(encoder, "config", None), "hidden_size", None)
    found = []
    for name in names:
        condition = model.encode_prompt([_PROMPT.format(name)])
        embeds, words = condition.embeds, condition.words[0]
        assert embeds is not None
        if embeds.shape[2] != hidden:
            raise BadInput(
                f"{model.spec.name}: prompts='classes' is for models with one text encoder; take prompts='tokens'"
            )
        end = 1 + sum(1 for word in words if word)
        if embeds.shape[1] != len(words) or end >= encoder.config.max_position_embeddings:
            raise BadInput(f"the class {name[:40]!r} ...: its name is too long for a prompt; give a shorter one")
        found.append(embeds[0, end].float())
    return torch.stack(found)


def prompt_bytes(prompt: Prompt) -> bytes:
    """Return the content of a file of learned prompt embeddings: safetensors in float32."""
    from safetensors.torch import save

    state = {name: value.detach().float().cpu().contiguous() for name, value in prompt.state_dict().items()}
    about = {"format": "pt", "shiftless": f"prompts {prompt.kind}"}
    if isinstance(prompt, ImplicitPrompt):
        about |= {"clip": os.path.abspath(prompt.clip.name), "clip_fingerprint": prompt.clip.fingerprint}
    return in_order(save(state, about))


def open_prompt(path: str | os.PathLike[str], names: Sequence[str] = (), device: str | torch.device = "cpu") -> Prompt:
    """Open what `prompt_bytes` gave; `names` are those of the classes.

    The CLIP of implicit captions is the folder `clip` beside the file, or where it was when they were learned. Raises
    BadInput for a file of something else, and for another CLIP or none.
    """
    from safetensors import safe_open

    try:
        with safe_open(Path(path), "pt") as file:
            about = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        kind = about.get("shiftless", "")
        made: Prompt
        if kind == "prompts implicit":
            made = ImplicitPrompt(_clip_of(Path(path), about, device), *state["gate"].shape)
        elif kind == "prompts tokens":
            made = TokenPrompt(state["tokens"])
        else:
            made = ClassPrompt(state["classes"], names)
        made.load_state_dict(state)
    except BadInput:
        raise
    except Exception as error:  # broken headers make the parser raise nearly anything
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise BadInput(f"{path}: not a whole file of learned prompt embeddings ({reason}); train again") from None
    return made.requires_grad_(False).to(device)


def _clip_of(path: Path, about: Mapping[str, str], device: str | torch.device) -> ClipFolder:
    """The CLIP that implicit captions were learned with."""
    beside = path.parent / "clip"
    place = beside if beside.is_dir() else Path(about["clip"])
    if not place.is_dir():
        raise BadInput(f"{place}: the CLIP of the captions in {path} is not here; copy its folder to {beside}")
    found = open_clip(place, device)
    if found.fingerprint != about["clip_fingerprint"]:
        raise BadInput(f"{place}: another CLIP than the captions in {path} were learned with; copy that to {beside}")
    return found
