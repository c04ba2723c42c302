"""The registry: model names -> loaded backbones, or their taps without loading anything."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import torch

from shiftless.backbones.base import PHOTOGRAPHS, Backbone
from shiftless.backbones.device import choose_device, choose_dtype
from shiftless.backbones.families import SUPPORTED, family, family_of
from shiftless.backbones.offload import choose_offload
from shiftless.backbones.parts import place_of
from shiftless.backbones.quantise import choose_quantise
from shiftless.backbones.single_file import row_of
from shiftless.conditions.config import read_config
from shiftless.conditions.hub import fetch_command, fetched, is_hub_id
from shiftless.conditions.silence import import_quietly
from shiftless.conditions.weights import converted
from shiftless.errors import BadInput
from shiftless.mini import embedded
from shiftless.taps.names import Tap

MINI_MADE_FOR = "pictures of its drawn world"


@cache
def models() -> dict[str, dict[str, Any]]:
    """Return the known models, as models.json lists them: name -> hub ids (first the one to fetch), size, shape.

    >>> models()["sd15"]["size"]
    512
    """
    rows: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "models.json").read_text(encoding="utf-8"))
    return {name: {"family": "sd", **rows.get(row.get("like", ""), {}), **row} for name, row in rows.items()}


def load(
    name: str | os.PathLike[str],
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    size: int | None = None,
    offload: bool | str = False,
    quantise: str = "",
) -> Backbone:
    """Load a backbone, from disk only; nothing is fetched.

    name    "mini" or another embedded model, an alias ("sd15", "sd21" ...), a hub id already fetched,
            a diffusers folder, a single-file checkpoint of Stable Diffusion 1, 2 or XL ("model.safetensors"),
            CleanDIFT's UNet under its published file name,
            "twin:sd15" (tiny, random weights) or "twin-full:sd15" (real size, random weights)
    device  "auto", "cpu", "cuda", "cuda:1", "mps"
    dtype   "auto", "fp32", "bf16", "fp16" or a torch dtype
    size    the longer side in pixels that images are read at; the model's own by default
    offload True or "parts": text encoders, autoencoder and denoiser wait in main memory and come to the device by
            turns; "layers": of text encoders and denoiser one block at a time, for models larger than the device
    quantise "int8" or "nf4": in how many bits the weights of the denoiser and the large text encoders are kept


    Raises BadInput when the model is not on this machine (with the command that fetches it) or is incomplete.

    >>> load("twin:sd15").spec.multiple
    64
    """
    where, turns, bits = choose_device(device), choose_offload(offload), choose_quantise(quantise)
    first = torch.device("cpu") if turns or bits else where
    model: Backbone = _loaded(os.fspath(name), first, choose_dtype(dtype, where), size)
    if turns or bits:
        model.place(where, turns, bits)  # type: ignore[attr-defined]  # every family's adapter has it
    return model


def _loaded(name: str, where: torch.device, kind: torch.dtype, size: int | None) -> Any:
    import_quietly()
    twin, full = _twin_row(name)
    if twin is not None:
        made: Backbone = family(twin["family"]).from_twin(name, twin, where, kind, full=full, size=size)
        return made
    if published := _published(name):
        alone = models()[published]
        file = Path(name) if _is_checkpoint(name) else find(name) / alone["file"]
        made = family(alone["family"]).from_unet(name, file, _rest_of(published), alone, where, kind, size)
        return made
    if _is_checkpoint(name):
        shape = row_of(Path(name), models())
        made = family(shape["family"]).from_single_file(name, shape, where, kind, size)
        return made
    folder = find(name)
    adapter = family_of(folder)
    row = models().get(name, {})
    ours = folder.resolve() in [path.resolve() for path in embedded().values()]
    made_for = MINI_MADE_FOR if ours else row.get("made_for", "")
    options: dict[str, Any] = {"size": size or row.get("size"), "made_for": made_for}
    known = row or _like(adapter, folder)
    options |= {technique: known[technique] for technique in ("controls", "images") if known.get(technique)}
    loaded: Backbone = adapter.from_folder(name, folder, where, kind, **options)
    return loaded


def taps(name: str | os.PathLike[str]) -> tuple[Tap, ...]:
    """List a model's taps without loading any weight; an alias needs nothing on disk at all.

    >>> [tap.channels for tap in taps("sd15") if tap.name in ("up0", "up1", "up2")]
    [1280, 1280, 640]
    """
    name = os.fspath(name)
    twin, full = _twin_row(name)
    if twin is not None and not full:
        return _taps_of_twin(name)
    row = twin if twin is not None else models().get(_published(name) or name)
    if row is None and _is_checkpoint(name):
        row = row_of(Path(name), models())
    if row is not None:
        listed: tuple[Tap, ...] = family(row["family"]).list_taps(row)
        return listed
    folder = find(name)
    adapter = family_of(folder)
    listed = adapter.list_taps(adapter.read_configs(folder))
    return listed


@cache
def _taps_of_twin(name: str) -> tuple[Tap, ...]:
    """The taps of a tiny twin, which are those of the networks made for it; they are always the same."""
    return load(name, device="cpu", dtype="fp32").taps


def untrained(model: Backbone, seed: int = 0) -> Backbone:
    """Return the same network with random weights and the same image encoder: a benchmark's control.

    Only the denoiser and the text encoders lose what they learned, so that the comparison is about them. Raises
    BadInput for a family that has no such control.
    """
    make = getattr(model, "untrained", None)
    if make is None:
        raise BadInput(f"{model.spec.name}: no untrained control for the {model.spec.family} family")
    made: Backbone = make(seed)
    return made


def find(name: str) -> Path:
    """Return the folder of a model that is on this machine; raises BadInput telling how to get it there."""
    if name in embedded():
        return embedded()[name]
    if name and Path(name).is_dir():
        return Path(name)
    if Path(name).is_file():
        raise BadInput(converted(Path(name), "StableDiffusionPipeline"))
    row = models().get(name, {"hub": [name]})
    if name not in models() and not is_hub_id(name):
        raise BadInput(f"{name!r}: no such model; use one of {', '.join([*embedded(), *models()])}; {SUPPORTED}")
    for hub_id in row["hub"]:
        folder = fetched(hub_id)
        if folder is not None and ("file" not in row or ((folder / row["file"]).is_file() and _rest_of(name))):
            return folder
    unsure = "" if name in models() else f"; {SUPPORTED}"
    raise BadInput(f"{name}: not on this machine; fetch it once with: {how_to_fetch(name)}{unsure}")


def family_named(name: str) -> str:
    """Return the family of a model by its name, without loading it; "" for one that is not on this machine.

    >>> family_named("dino-s16"), family_named("twin:sd15"), family_named("someone/some-model")
    ('vit', 'sd', '')
    """
    known = models().get(_published(name) or name.partition(":")[2] or name)
    try:
        if known is None and _is_checkpoint(name):
            known = row_of(Path(name), models())
        return str(known["family"] if known is not None else family_of(find(name)).FAMILY)
    except BadInput:
        return ""


def how_to_fetch(name: str) -> str:
    """Return the shell command that fetches the files of a model that are read, by its alias or hub id.

    Of a model that was published as a checkpoint only, it makes a folder of the model's name, where it is looked for.

    >>> how_to_fetch("sd15")
    'shiftless fetch sd15'
    """
    checkpoint = models().get(name, {}).get("checkpoint")
    if checkpoint:
        file = checkpoint.rpartition("/")[2]
        return f"curl -O {checkpoint} && shiftless convert {file} {name}"
    return fetch_command(name)


def repositories_of(name: str) -> dict[str, list[str]]:
    """Return what is fetched of a model: hub id -> globs of the files, none for all that are read.

    A UNet that was published as a file of its own needs the other parts of the model that it was made of.

    >>> repositories_of("sd15"), list(repositories_of("cleandift-sd15").values())[0]
    ({'stable-diffusion-v1-5/stable-diffusion-v1-5': []}, ['cleandift_sd15_unet.safetensors'])
    """
    row = models().get(name, {"hub": [name]})
    if "file" not in row:
        return {row["hub"][0]: []}
    adapter = family(row["family"])
    others = [f"{part}/*" for part in adapter.PARTS if part != adapter.DENOISER]
    return {row["hub"][0]: [row["file"]], models()[row["base"]]["hub"][0]: others}


def not_for_photographs(model: Backbone) -> str:
    """Return a warning, with the remedy, if a model was not trained on photographs; else "".

    >>> not_for_photographs(load("mini")).partition(":")[0]
    'mini was trained on pictures of its drawn world and is not for photographs'
    """
    if model.spec.made_for in ("", PHOTOGRAPHS):
        return ""
    return (
        f"{model.spec.name} was trained on {model.spec.made_for} and is not for photographs: what it says of them "
        f"means little; use -m sd15 for them, fetched once with: {how_to_fetch('sd15')}"
    )


def _is_checkpoint(name: str) -> bool:
    return name.endswith(".safetensors") and Path(name).is_file()


def _published(name: str) -> str:
    """The known model whose UNet was published as a file of its own, by its name or by that file; "" for others."""
    of_file = {row["file"]: known for known, row in models().items() if "file" in row}
    if _is_checkpoint(name):
        return of_file.get(Path(name).name, "")
    return name if name in of_file.values() else ""


def _rest_of(name: str) -> Path:
    """The folder of the model that a UNet was made of; raises BadInput with the command that fetches its parts."""
    folders = [folder for hub_id in models()[models()[name]["base"]]["hub"] if (folder := fetched(hub_id))]
    if not folders:
        base = models()[name]["base"]
        raise BadInput(
            f"{name}: the parts of {base} are not on this machine; fetch them once with: {how_to_fetch(name)}"
        )
    return folders[0]


def _twin_row(name: str) -> tuple[dict[str, Any] | None, bool]:
    kind, _, of = name.partition(":")
    if kind not in ("twin", "twin-full") or not of:
        return None, False
    if of not in models():
        raise BadInput(f"{name!r}: no such twin; there are {', '.join('twin:' + known for known in models())}")
    return models()[of], kind == "twin-full"


_SHAPE = ("cross_attention_dim", "joint_attention_dim", "num_layers", "qk_norm")  # what models of one kind share


def _like(adapter: Any, folder: Path) -> dict[str, Any]:
    """The known model that a folder's is of the kind of: of its family and as wide and deep; {} if none is."""
    if "control" not in adapter.TECHNIQUES:
        return {}
    config = read_config(place_of(folder, adapter.DENOISER) / "config.json")
    rows = [row for row in models().values() if row["family"] == adapter.FAMILY]
    alike = (row for row in rows if all(row[adapter.DENOISER].get(key) == config.get(key) for key in _SHAPE))
    return next(alike, {})
