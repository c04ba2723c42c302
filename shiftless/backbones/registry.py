"""The registry: model names -> loaded backbones, or their taps without loading anything."""

from __future__ import annotations

import json
import os
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from shiftless.backbones.base import PHOTOGRAPHS, Backbone
from shiftless.backbones.device import choose_device, choose_dtype
from shiftless.backbones.sd_config import read_vae
from shiftless.conditions.config import read_config, short
from shiftless.conditions.hub import MODEL_FILES, fetch_again, fetch_command, fetched, is_hub_id
from shiftless.conditions.unet_config import read_unet
from shiftless.conditions.weights import converted
from shiftless.digest import digest_of
from shiftless.errors import BadInput
from shiftless.mini import weights
from shiftless.noise import seeded
from shiftless.taps.lock import construction
from shiftless.taps.names import Tap

MINI_MADE_FOR = "pictures of its drawn world"
SUPPORTED = (
    "what loads is Stable Diffusion 1 and 2 (a name, a diffusers folder, or a fetched hub id of a model of this kind); "
    "SDXL, SD 3, Flux, DiT, DDPM and ViT do not load yet"
)


@cache
def models() -> dict[str, dict[str, Any]]:
    """Return the known models, as models.json lists them: name -> hub ids (first the one to fetch), size, shape.

    >>> models()["sd15"]["size"]
    512
    """
    rows: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "models.json").read_text(encoding="utf-8"))
    return {name: {**rows.get(row.get("like", ""), {}), **row} for name, row in rows.items()}


def load(
    name: str | os.PathLike[str],
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    size: int | None = None,
) -> Backbone:
    """Load a backbone, from disk only; nothing is fetched.

    name    "mini" (embedded), an alias ("sd15", "sd21" ...), a hub id already fetched, a diffusers folder,
            "twin:sd15" (tiny, random weights) or "twin-full:sd15" (real size, random weights)
    device  "auto", "cpu", "cuda", "cuda:1", "mps"
    dtype   "auto", "fp32", "bf16", "fp16" or a torch dtype
    size    the longer side in pixels that images are read at; the model's own by default

    Raises BadInput when the model is not on this machine (with the command that fetches it) or is incomplete.

    >>> load("twin:sd15").spec.multiple
    64
    """
    from shiftless.backbones.sd import StableDiffusion, digest_of_parts, load_parts

    name = os.fspath(name)
    where = choose_device(device)
    kind = choose_dtype(dtype, where)
    twin, full = _twin_row(name)
    if twin is not None:
        from shiftless.backbones.twins import twin_control, twin_parts

        native, parts = size or (twin["size"] if full else None), twin_parts(twin, full=full)
        stride = 2 ** (len(parts["vae"].config.block_out_channels) - 1)
        nets = {"canny": lambda: twin_control(parts["unet"], stride)}
        digest = digest_of("twin", twin, full, torch.__version__)  # random weights, from one seed
        return StableDiffusion(name, parts, native, where, kind, controls=nets, made_of=lambda: digest)
    folder = find(name)
    _check_family(folder)
    row = models().get(name, {})
    made_of, parts = digest_of_parts(folder), load_parts(folder, kind)
    made_for = MINI_MADE_FOR if folder.resolve() == weights().resolve() else row.get("made_for", "")
    return StableDiffusion(
        name,
        parts,
        size or row.get("size"),
        where,
        kind,
        home=folder,
        controls=row.get("controls", _controls(folder)),
        made_of=made_of,
        made_for=made_for,
    )


def taps(name: str | os.PathLike[str]) -> tuple[Tap, ...]:
    """List a model's taps without loading any weight; an alias needs nothing on disk at all.

    >>> [tap.channels for tap in taps("sd15") if tap.name in ("up0", "up1", "up2")]
    [1280, 1280, 640]
    """
    from shiftless.backbones.unet_taps import unet_taps

    name = os.fspath(name)
    twin, full = _twin_row(name)
    if twin is not None and not full:
        return load(name).taps
    row = twin if twin is not None else models().get(name)
    if row is not None:
        return unet_taps(row["unet"], 2 ** (len(row["vae"]["block_out_channels"]) - 1))
    folder = find(name)
    _check_family(folder)
    vae = _config(folder, "vae")
    return unet_taps(_config(folder, "unet"), 2 ** (len(vae["block_out_channels"]) - 1))


def untrained(model: Backbone, seed: int = 0) -> Backbone:
    """Return the same network with random weights and the same image encoder: a benchmark's control.

    Only the denoiser and the text encoder lose what they learned, so that the comparison is about them.
    """
    from shiftless.backbones.sd import StableDiffusion

    if not isinstance(model, StableDiffusion):
        raise BadInput(f"{model.spec.name}: no untrained control for the {model.spec.family} family")
    from diffusers import DDIMScheduler

    with construction(), seeded(seed):
        parts = {
            "unet": type(model.unet).from_config(model.unet.config),
            "text_encoder": type(model.text_encoder)(model.text_encoder.config),
        }
    parts |= {"vae": model.vae, "tokenizer": model.tokenizer}
    parts["scheduler"] = DDIMScheduler(trained_betas=model.schedule.betas(), prediction_type=model.schedule.prediction)
    name, size = f"untrained {model.spec.name}", model.spec.size
    of = partial(_untrained_digest, model, seed)
    return StableDiffusion(name, parts, size, model.device, model.dtype, made_of=of)


def _untrained_digest(model: Backbone, seed: int) -> str:
    return digest_of("untrained", model.fingerprint, seed, torch.__version__)


def find(name: str) -> Path:
    """Return the folder of a model that is on this machine; raises BadInput telling how to get it there."""
    if name == "mini":
        return weights()
    if name and Path(name).is_dir():
        return Path(name)
    if Path(name).is_file():
        raise BadInput(converted(Path(name), "StableDiffusionPipeline"))
    ids = models()[name]["hub"] if name in models() else [name]
    if name not in models() and not is_hub_id(name):
        raise BadInput(f"{name!r}: no such model; use one of {', '.join(['mini', *models()])}; {SUPPORTED}")
    for hub_id in ids:
        folder = fetched(hub_id)
        if folder is not None:
            return folder
    unsure = "" if name in models() else f"; {SUPPORTED}"
    raise BadInput(f"{name}: not on this machine; fetch it once with: {how_to_fetch(ids[0])}{unsure}")


def how_to_fetch(name: str) -> str:
    """Return the shell command that fetches the files of a model that are read, by its alias or hub id.

    >>> how_to_fetch("sd15").split()[:3]
    ['hf', 'download', 'stable-diffusion-v1-5/stable-diffusion-v1-5']
    """
    return fetch_command(models()[name]["hub"][0] if name in models() else name, MODEL_FILES)


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


def _twin_row(name: str) -> tuple[dict[str, Any] | None, bool]:
    kind, _, of = name.partition(":")
    if kind not in ("twin", "twin-full") or not of:
        return None, False
    if of not in models():
        raise BadInput(f"{name!r}: no such twin; there are {', '.join('twin:' + known for known in models())}")
    return models()[of], kind == "twin-full"


def _config(folder: Path, part: str) -> dict[str, Any]:
    """The checked config of a folder's unet or vae."""
    read = {"unet": read_unet, "vae": read_vae}[part]
    return read(folder / part, _incomplete(folder, f"{part}/config.json"))


def _incomplete(folder: Path, part: str) -> str:
    remedy = fetch_again(folder, MODEL_FILES) or "give a whole diffusers folder"
    return f"{folder}: the model folder has no {part}; {remedy}"


def _check_family(folder: Path) -> None:
    """Raise BadInput for a model family that no adapter reads, naming it."""
    path = folder / "unet" / "config.json"
    config = read_config(path, _incomplete(folder, "unet/config.json"))
    family = config.get("_class_name", "UNet2DConditionModel")
    if family != "UNet2DConditionModel" or config.get("addition_embed_type"):
        raise BadInput(f"{folder}: a {short(family)} of another family than Stable Diffusion 1 or 2; give one of those")


def _controls(folder: Path) -> dict[str, str]:
    """The published ControlNets of a folder's kind of model: those of the row with the same text width, if any."""
    width = _config(folder, "unet").get("cross_attention_dim")
    rows = (row for row in models().values() if row["unet"]["cross_attention_dim"] == width)
    controls: dict[str, str] = next((row.get("controls", {}) for row in rows), {})
    return controls
