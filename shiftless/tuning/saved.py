"""What was tuned, as files beside a head that refers to them by digest; and the model that it reads photos with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from shiftless.digest import digest_of_file
from shiftless.errors import BadInput
from shiftless.tasks.pixels import Source
from shiftless.tasks.scenehead import SceneHead
from shiftless.tuning.masters import copied_weights, load_weights
from shiftless.tuning.prompts import open_prompt
from shiftless.tuning.tunedmodel import TunedModel, fingerprint_of

PROMPTS, LORA, UNET = "prompts.safetensors", "lora.safetensors", "unet.safetensors"


def digests_in(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the digest of each file of a folder; raises BadInput for one that is not there."""
    return {name: digest_of_file(folder / name) for name in names}


def refer(head: SceneHead, base: str, digests: Mapping[str, str]) -> None:
    """Let a head refer to what was tuned: files beside it, by their digests, of a model of this fingerprint."""
    source = Source(head.source.model if head.source else "", fingerprint_of(base, digests))
    head.tuned, head.source = dict(digests), source
    head.settings |= {"tuned": dict(digests), "source": source.to_list()}


def tuned_for(head: SceneHead, place: str | os.PathLike[str], model: Any) -> Any:
    """Return a model as a head's features were read with it: itself, or with what was tuned beside the head.

    place  the head's folder, or its file in it
    model  loaded as it was before it was tuned; tuned weights of its denoiser are copied into it

    Raises BadInput for a file that is missing or another than the head was trained with, and for another model.
    """
    return _tuned(head, place, model, load_weights)


@contextmanager
def as_tuned(head: SceneHead, place: str | os.PathLike[str], model: Any) -> Iterator[Any]:
    """Yield what `tuned_for` returns; afterwards the model has its own weights again, which were not touched.

    Raises BadInput as `tuned_for` does.
    """
    with ExitStack() as stack:

        def load(network: nn.Module, path: Path) -> None:
            stack.enter_context(copied_weights(network))
            load_weights(network, path)

        yield _tuned(head, place, model, load)


def _tuned(head: SceneHead, place: str | os.PathLike[str], model: Any, load: Callable[[nn.Module, Path], None]) -> Any:
    """The model as it was tuned; `load` puts weights of a file into its denoiser."""
    if not head.tuned:
        return model
    folder = Path(place) if Path(place).is_dir() else Path(place).parent
    for name, digest in head.tuned.items():
        if name not in (PROMPTS, LORA, UNET):
            raise BadInput(f"{place}: the head refers to {name!r}, which nothing is known of; use a newer shiftless")
        if not (folder / name).is_file():
            raise BadInput(f"{folder / name}: missing; the head was trained with it, so copy its whole folder")
        if (found := digest_of_file(folder / name)) != digest:
            raise BadInput(
                f"{folder / name}: other weights (contents {found[:8]}) than the head was trained with "
                f"({digest[:8]}); take the file that was saved with the head"
            )
    fingerprint = fingerprint_of(model.fingerprint, head.tuned)
    if head.source is not None and head.source.fingerprint != fingerprint:
        raise BadInput(
            f"{place}: was tuned on other weights of {head.source.model} than those of {model.spec.name}; load the "
            "model that it was trained on"
        )
    prompt = open_prompt(folder / PROMPTS, head.classes, model.device) if PROMPTS in head.tuned else None
    if UNET in head.tuned:
        if model.quantise:
            raise BadInput(f"{model.spec.name}: weights that were tuned replace plain ones; load it without quantise")
        load(model.denoiser, folder / UNET)
    loras = [(str(folder / LORA), 1.0)] if LORA in head.tuned else []
    return TunedModel(model, fingerprint, prompt=prompt, loras=loras)
