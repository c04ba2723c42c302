"""Single-file checkpoints of Stable Diffusion 1, 2 and XL, in the names of their first code: converted in memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from shiftless.backbones.parts import class_of, load_parts, networks_of
from shiftless.backbones.sd_config import check_tokenizer
from shiftless.conditions.config import AGAIN, check_values
from shiftless.conditions.hub import fetched
from shiftless.conditions.inpaint import channels_of
from shiftless.conditions.silence import silenced
from shiftless.errors import BadInput, first_line
from shiftless.taps.lock import construction

_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
_IN = f"{_UNET}input_blocks.0.0.weight"
_WORDS = (f"{_UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",  # SDXL's begin a level later
          f"{_UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight")  # fmt: skip
_ALONE = "down_blocks.0.resnets.0.conv1.weight"  # in diffusers' names, of a UNet that is in a file of its own
_OF_WIDTH = {768: "sd15", 1024: "sd21", 2048: "sdxl"}  # of the prompt embeddings
_LATENT = 4  # channels of a latent
_EDM = ("edm_mean", "edm_vpred.sigma_max")
_CLIP = {"sd15": "cond_stage_model.transformer.", "sdxl": "conditioner.embedders.0.transformer."}
_OPEN_CLIP = {"sd21": "cond_stage_model.model.", "sdxl": "conditioner.embedders.1.model."}
_VOCABULARIES = {"sd15": ("sd15", "sd14"), "sd21": ("sd21", "sd21-base"),
                 "sdxl": ("sdxl", "sdxl-turbo", "playground-v2")}  # fmt: skip


def row_of(path: Path, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the row of models.json of the model that a checkpoint is of the shape of, from its header alone.

    The row's "shape" is that model's name, and its "vocabularies" are the hub ids of models with the same tokenizers.
    The weights of Stable Diffusion 2 do not tell whether they predict noise or a velocity: the .yaml that was published
    with them does, which must lie beside the file under its name. Raises BadInput for a file of another kind.
    """
    shapes = _shapes(path)
    if _ALONE in shapes:
        raise BadInput(
            f"{path}: a UNet alone, which does not say what it predicts; put it into a copy of its model's folder, as "
            "unet/diffusion_pytorch_model.safetensors (CleanDIFT's are known by their names as published)"
        )
    kind = next((_OF_WIDTH.get(shapes[key][1], "") for key in _WORDS if key in shapes), "")
    if not kind or _IN not in shapes or not any(key.startswith(_VAE) for key in shapes):
        holds = f"{len(shapes)} tensors, such as {next(iter(shapes), 'none')}"
        raise BadInput(
            f"{path}: no whole checkpoint of Stable Diffusion 1, 2 or XL (it holds {holds}); give one that holds the "
            "UNet, the autoencoder and the text encoders, or a diffusers folder"
        )
    takes = shapes[_IN][1]
    if takes not in (_LATENT, channels_of(_LATENT)):
        raise BadInput(
            f"{path}: its UNet takes {takes} channels, as for depth or instructions; give a base model, or one for "
            "inpainting"
        )
    if any(key in shapes for key in _EDM):
        raise BadInput(f"{path}: trained with EDM's preconditioning (Playground v2.5, CosXL), which is not read here")
    row = dict(rows["sd21-base" if kind == "sd21" and _prediction(path) == "epsilon" else kind])
    row["unet"] = {**row["unet"], "in_channels": takes}
    row["shape"], row["vocabularies"] = kind, [hub_id for name in _VOCABULARIES[kind] for hub_id in rows[name]["hub"]]
    if "v_pred" in shapes:  # fine-tunes of SDXL mark themselves so
        row["scheduler"] = {**row["scheduler"], "prediction_type": "v_prediction"}
        row["scheduler"] |= {"rescale_betas_zero_snr": "ztsnr" in shapes}
    return row


def read_checkpoint(path: Path, row: Mapping[str, Any], classes: Mapping[str, str]) -> dict[str, Any]:
    """Read every part of a checkpoint, by diffusers' converters; the tokenizers lie beside the file, or were fetched.

    row  as `row_of` returns it      classes  part -> its class, as "library:Class"

    Raises BadInput where a part lacks a tensor or has it in another shape, and where there is no tokenizer.
    """
    from diffusers.loaders import single_file_utils as converters
    from safetensors.torch import load_file

    parts: dict[str, Any] = {}
    tokenizers = [part for part in classes if part.startswith("tokenizer")]
    place = _tokenizers(path, row, tokenizers)
    configs = {"text_encoder": row.get("text", {}), **row}
    state = load_file(path)
    shape = row["shape"]
    for part in networks_of(classes):
        network = _empty(classes[part], configs[part])
        with silenced():
            if part == "unet":
                weights = converters.convert_ldm_unet_checkpoint(state, dict(network.config))
            elif part == "vae":
                weights = converters.convert_ldm_vae_checkpoint(dict(state), dict(network.config))
            elif part == "text_encoder" and shape in _CLIP:
                clip = {key: value for key, value in state.items() if key.startswith(_CLIP[shape])}
                weights = converters.convert_ldm_clip_checkpoint(clip)
            else:
                weights = converters.convert_open_clip_checkpoint(network, state, prefix=_OPEN_CLIP[shape])
        parts[part] = _filled(network, weights, f"{path}: its {part}")
    with construction():
        parts["scheduler"] = class_of(classes["scheduler"])(**row["scheduler"])
    parts |= load_parts(place, {part: classes[part] for part in tokenizers})
    for part in tokenizers:
        check_tokenizer(parts[part], parts[part.replace("tokenizer", "text_encoder")], place / part)
    return parts


def read_network(path: Path, kind: str, config: Mapping[str, Any]) -> Any:
    """Read a network from a file that holds its tensors alone, in diffusers' names.

    kind  its class, as "library:Class"      config  its settings

    Raises BadInput for a broken file, and where it lacks a tensor or has it in another shape.
    """
    from safetensors.torch import load_file

    _shapes(path)
    return _filled(_empty(kind, config), load_file(path), str(path))


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        reason = first_line(error)
        raise BadInput(f"{path}: not a whole safetensors file ({reason}); {AGAIN}") from None


def _prediction(path: Path) -> str:
    """What a checkpoint of Stable Diffusion 2 predicts, by the .yaml beside it."""
    settings = path.with_suffix(".yaml")
    if not settings.is_file():
        raise BadInput(
            f"{path}: a checkpoint of Stable Diffusion 2, whose weights do not say what they predict; put the .yaml "
            f"published with it beside it as {settings.name} (v2-inference-v.yaml or v2-inference.yaml)"
        )
    text = settings.read_text(encoding="utf-8", errors="replace")
    return "v_prediction" if re.search(r"^\s*parameterization:\s*[\"']?v\b", text, re.MULTILINE) else "epsilon"


def _tokenizers(path: Path, row: Mapping[str, Any], parts: list[str]) -> Path:
    """The folder that holds the tokenizers' folders: the file's own, or a fetched repository of the same shape."""
    folders = [path.parent, *(folder for hub_id in row["vocabularies"] if (folder := fetched(hub_id)))]
    for folder in folders:
        if all((folder / part).is_dir() for part in parts):
            return folder
    names = " and ".join(f"{part}/" for part in parts)
    includes = " ".join(f'--include "{part}/*"' for part in parts)
    raise BadInput(
        f"{path}: a checkpoint holds no vocabulary; put {names} of a model like {row['shape']} beside it, or fetch "
        f"them once with: hf download {row['vocabularies'][0]} {includes}"
    )


def _empty(path: str, config: Mapping[str, Any]) -> Any:
    """A network without memory for its weights."""
    kind = class_of(path)
    config_class = getattr(kind, "config_class", None)
    if path.endswith(":AutoencoderKL"):
        levels = len(config["block_out_channels"])
        blocks = {"down": "DownEncoderBlock2D", "up": "UpDecoderBlock2D"}
        config = {**{f"{side}_block_types": [name] * levels for side, name in blocks.items()}, **config}
    with construction(), torch.device("meta"):
        return kind(config_class(**config)) if config_class is not None else kind(**config)


def _filled(network: Any, weights: Mapping[str, torch.Tensor], place: str) -> Any:
    """Give a network its weights; raises BadInput for those that it lacks, and for those of another shape."""
    wrapped = hasattr(network, "text_model")  # releases of transformers differ in where a text encoder begins
    expected = network.state_dict()
    weights = {key if wrapped or key in expected else key.removeprefix("text_model."): v for key, v in weights.items()}
    for key, tensor in expected.items():
        if key not in weights:
            raise BadInput(f"{place} lacks {key}; {AGAIN}, or give a diffusers folder")
        if weights[key].shape != tensor.shape:
            theirs, ours = list(weights[key].shape), list(tensor.shape)
            raise BadInput(f"{place} has {key} of {theirs}, not {ours}; {AGAIN}, or give a diffusers folder")
    strange = [key for key in weights if key not in expected and not key.endswith("position_ids")]
    if strange:
        raise BadInput(f"{place} has {strange[0]}, which its kind does not have; give a diffusers folder")
    network.load_state_dict({key: weights[key] for key in expected}, assign=True)
    for name, buffer in network.named_buffers():
        if buffer.is_meta:  # the numbers of positions, which are no weights
            module, _, own = name.rpartition(".")
            setattr(network.get_submodule(module), own, torch.arange(buffer.shape[-1]).expand(buffer.shape))
    check_values(network, Path(place))
    return network
