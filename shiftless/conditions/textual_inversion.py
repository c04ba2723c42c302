"""Textual inversion: words of which a model learned the token embeddings from pictures (Gal et al. 2023)."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from shiftless.digest import digest_of, digest_of_file
from shiftless.errors import BadInput, first_line

FILE = "learned_embeds.safetensors"
"""What diffusers' training script calls the file that it writes into a folder."""
_STEM = ("emb_params", "*")  # keys that name no word, of files whose name is the word
_OF_TWO = (("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1"))  # of SDXL's two text encoders
_MOST = 75  # vectors: what a prompt of CLIP's holds
_MADE_FOR = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 1280: "Stable Diffusion XL's second encoder"}


@dataclass(frozen=True, eq=False)
class LearnedWord:
    """A word of a prompt that stands for vectors in place of an entry of the vocabulary.

    token    the word as a prompt writes it, such as "<cat-toy>"
    vectors  N D for each of the text encoders that it was learned for, N token embeddings one after another
    digest   of its contents and of the word
    """

    token: str
    vectors: tuple[torch.Tensor, ...]
    digest: str


def find_word(name: str) -> tuple[Path, str]:
    """Return the file that a recipe's textual inversion names, and the word that it is given, "" for the file's own.

    Forms: a .safetensors file, the folder that diffusers' training script writes, or WORD=FILE. Raises BadInput.

    >>> find_word("nowhere.safetensors")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: textual_inversion 'nowhere.safetensors': no such file; give a .safetensors file, ...
    """
    token, given, where = ("", "", name) if Path(name).exists() else name.partition("=")
    path = Path(where if given else name)
    if path.is_dir():
        pickles = sorted(path.glob("learned_embeds*.bin"))
        path = path / FILE if (path / FILE).is_file() or not pickles else pickles[0]
    if not path.is_file():
        raise BadInput(
            f"textual_inversion {name!r}: no such file; give a .safetensors file, the folder of {FILE}, or WORD=FILE"
        )
    if path.suffix != ".safetensors":
        raise BadInput(f"{path}: learned words are read from .safetensors only; make one of it with: {_converts(path)}")
    if given and not token.strip():
        raise BadInput(f"textual_inversion {name!r}: the word before = is empty; give WORD=FILE")
    return path, token.strip()


def read_word(name: str) -> LearnedWord:
    """Read a learned word from disk; raises BadInput for a file that is missing, broken or of another kind."""
    path, token = find_word(name)
    return _read(path, token, digest_of_file(path))


def check_fit(word: LearnedWord, name: str, widths: Sequence[int]) -> None:
    """Raise BadInput unless a word was learned for text encoders of these widths.

    >>> check_fit(LearnedWord("<x>", (torch.zeros(1, 1024),), ""), "x.safetensors", [768])
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: x.safetensors: <x> is 1024 wide (as for Stable Diffusion 2), and this model's words ...
    """
    theirs = [vectors.shape[1] for vectors in word.vectors]
    if len(theirs) != len(widths):
        number = {1: "one text encoder", 2: "two text encoders, as Stable Diffusion XL has"}
        raise BadInput(
            f"{name}: {word.token} was learned for {number[len(theirs)]}, and this model has {len(widths)}; take one "
            "that was trained with this model's family"
        )
    for its, own in zip(theirs, widths):
        if its != own:
            known = f" (as for {_MADE_FOR[its]})" if its in _MADE_FOR else ""
            raise BadInput(
                f"{name}: {word.token} is {its} wide{known}, and this model's words are {own}; take one that was "
                "trained with this model's family"
            )


@lru_cache(maxsize=64)
def _read(path: Path, token: str, content: str) -> LearnedWord:
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except Exception as error:
        raise BadInput(f"{path}: not a whole safetensors file ({first_line(error)}); fetch or save it again") from None
    keys = next((pair for pair in _OF_TWO if set(pair) == set(state)), tuple(state))
    if not keys or (len(state) > 1 and keys not in _OF_TWO):
        holds = f"{len(state)} tensors, such as {min(state)}" if state else "nothing"
        raise BadInput(
            f"{path}: not one learned word (it holds {holds}); give a file of diffusers ({{word: vectors}}), of "
            "AUTOMATIC1111's (emb_params), or of SDXL (clip_l and clip_g)"
        )
    own = path.stem if keys in _OF_TWO or keys[0] in _STEM else keys[0]
    vectors = tuple(state[key][None] if state[key].ndim == 1 else state[key] for key in keys)
    if any(one.ndim != 2 or not one.numel() or not one.is_floating_point() for one in vectors):
        raise BadInput(f"{path}: {keys[0]} is no list of vectors ({list(state[keys[0]].shape)}); fetch it again")
    if len({len(one) for one in vectors}) > 1:
        raise BadInput(f"{path}: its two text encoders have different numbers of vectors; fetch it again")
    if len(vectors[0]) > _MOST:
        raise BadInput(
            f"{path}: holds {len(vectors[0])} vectors, and a prompt has room for {_MOST}; give a shorter one"
        )
    if not all(bool(one.float().isfinite().all()) for one in vectors):
        raise BadInput(f"{path}: holds values that are not finite; fetch it again")
    word = (token or own).strip()
    if not word:
        raise BadInput(f"{path}: names no word; give it one as WORD={path}")
    return LearnedWord(word, vectors, digest_of("textual inversion", word, content))


def _converts(path: Path) -> str:
    """The command that saves a pickle's tensors; torch's weights_only refuses anything but tensors."""
    code = (
        "import torch; from safetensors.torch import save_file; "
        f"d = torch.load({str(path)!r}, map_location='cpu', weights_only=True); d = d.get('string_to_param', d); "
        "save_file({'emb_params' if k == '*' else k: v.detach().clone().contiguous() for k, v in d.items()}, "
        f"{str(path.with_suffix('.safetensors'))!r})"
    )
    return f"python -c {shlex.quote(code)}"
