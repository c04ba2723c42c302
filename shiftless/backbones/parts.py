"""The parts of a diffusers folder: each loaded from safetensors, checked, and digested; nothing from the network."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from shiftless.backbones.sd_config import SCHEDULER
from shiftless.conditions.config import check_complete, check_fields, check_layers, check_values, read_config
from shiftless.conditions.hub import fetch_again
from shiftless.conditions.silence import silenced
from shiftless.conditions.weights import DIFFUSERS, TRANSFORMERS, Weights, find_weights
from shiftless.digest import digest_of_files, marks_of
from shiftless.errors import BadInput, first_line
from shiftless.noise import Schedule
from shiftless.taps.lock import construction


def class_of(path: str) -> Any:
    """Return a class by its path, "library:Class".

    >>> class_of("collections:OrderedDict").__name__
    'OrderedDict'
    """
    library, _, name = path.partition(":")
    return getattr(importlib.import_module(library), name)


_RENAMED = {"ada_norm_zero": "DiTTransformer2DModel", "ada_norm_single": "PixArtTransformer2DModel"}


def named_class(config: Mapping[str, Any]) -> str:
    """Return the name of the class that a network's config is of, by its name in diffusers today.

    DiT and PixArt were published as a class that diffusers has since split by their kind of norm.

    >>> named_class({"_class_name": "Transformer2DModel", "norm_type": "ada_norm_single"})
    'PixArtTransformer2DModel'
    """
    named = str(config.get("_class_name", ""))
    return _RENAMED.get(str(config.get("norm_type")), named) if named == "Transformer2DModel" else named


def networks_of(parts: Mapping[str, str]) -> list[str]:
    """Return the parts that hold weights: all but tokenizers and the scheduler.

    >>> networks_of({"unet": "", "tokenizer_2": "", "scheduler": ""})
    ['unet']
    """
    return [part for part in parts if not part.startswith("tokenizer") and part != "scheduler"]


def place_of(folder: Path, part: str) -> Path:
    """Return where a part of a model folder lies: in a folder of its name, or beside the other parts' configs.

    The first pixel-space models were published with the UNet and the scheduler in the repository's root.

    >>> place_of(Path("nowhere"), "unet").as_posix()
    'nowhere/unet'
    """
    inside, config = folder / part, {"scheduler": "scheduler_config.json", "unet": "config.json"}.get(part, "")
    return folder if config and not inside.is_dir() and (folder / config).is_file() else inside


def load_parts(
    folder: Path,
    classes: Mapping[str, str],
    dtype: torch.dtype | None = None,
    *,
    configs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Load every part of a diffusers folder, safetensors only, nothing from the network.

    classes  part -> its class, as "library:Class"
    dtype    of diffusers' networks, so that they are never held in fp32 first
    configs  part -> the config object to build it by, in place of its config.json

    The configs must have been checked. Raises BadInput naming the part that is missing or broken.
    """
    networks = networks_of(classes)
    weights = check_there(folder, classes)
    parts: dict[str, Any] = {}
    for part, path in classes.items():
        place, options = place_of(folder, part), dict[str, Any]()
        if part in networks:
            options = {"use_safetensors": True, "output_loading_info": True}
            if dtype is not None and path.startswith("diffusers:"):
                options["torch_dtype"] = dtype
            if weights[part].variant:
                options["variant"] = weights[part].variant
            if configs and part in configs:
                options["config"] = configs[part]
        try:
            with construction(), silenced():
                loaded = class_of(path).from_pretrained(place, local_files_only=True, **options)
        except Exception as error:  # the libraries raise many kinds; the user needs one line
            reason = first_line(error)
            raise BadInput(
                f"{place_of(folder, part)}: cannot be loaded ({reason}); fetch or save the model again"
            ) from error
        parts[part], info = loaded if options else (loaded, {})
        check_complete(info, place)
        if part in networks:
            check_values(parts[part], place)
    return parts


def check_there(folder: Path, classes: Mapping[str, str]) -> dict[str, Weights]:
    """Return the weight files of a model folder's networks; raises BadInput naming the first part that it lacks."""
    for part in classes:
        if not place_of(folder, part).is_dir():
            remedy = fetch_again(folder) or f"a complete one has {', '.join(classes)}"
            raise BadInput(f"{folder}: the model folder has no {part}/; {remedy}")
    return {part: weights_of(place_of(folder, part)) for part in networks_of(classes)}


def check_configs(folder: Path, classes: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the configs of a folder's networks, checked: finite numbers, no more layers than the weights hold.

    Fields that a config of a diffusers class lacks have the defaults of that class, with which it loads. Nothing is
    built from them before. Raises BadInput naming the file and the field that is wrong.
    """
    configs = {}
    for part in networks_of(classes):
        place = place_of(folder, part)
        config = read_config(place / "config.json")
        check_layers(place, config, place / "config.json")
        configs[part] = {**_defaults_of(classes[part]), **config}
    scheduler = place_of(folder, "scheduler") / "scheduler_config.json"
    check_fields(read_config(scheduler), SCHEDULER, scheduler)
    return configs


def _defaults_of(path: str) -> dict[str, Any]:
    """The default of every field of the config of a diffusers class that has one."""
    if not path.startswith("diffusers:"):
        return {}
    parameters = inspect.signature(class_of(path).__init__).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}


def digest_of_parts(folder: Path, classes: Mapping[str, str]) -> Callable[[], str]:
    """Return a function that digests a diffusers folder: each part's settings, and the weights that are loaded.

    Call it before loading; its answer is "" where the files have changed since.
    """
    files: list[Path] = []
    networks = networks_of(classes)
    for part in classes:
        settings = (".json", ".txt", ".model", ".jinja")
        place = place_of(folder, part)
        files += sorted(file for file in place.glob("*") if file.suffix in settings)
        with suppress(BadInput):  # loading reports what is wrong with the weights
            files += weights_of(place).files if part in networks else ()
    before = marks_of(files)
    names = {file.relative_to(folder).as_posix(): file for file in files}
    return lambda: digest_of_files(names) if marks_of(files) == before else ""


def check_chat_template(parts: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a folder's parts; raises BadInput where the tokenizer lacks the template that prompts are put in."""
    if not parts["tokenizer"].chat_template:
        raise BadInput(f"{folder / 'tokenizer'}: no chat template, which its prompts are put in; fetch it again")
    return parts


def weights_of(folder: Path) -> Weights:
    """Return the weight files of one part; raises BadInput where there are none."""
    return find_weights(folder, TRANSFORMERS if "encoder" in folder.name else DIFFUSERS)


def schedule_of(scheduler: Any) -> Schedule:
    """Return the noise schedule that a diffusers scheduler stands for: of rectified flow, or by its betas.

    >>> from diffusers import FlowMatchEulerDiscreteScheduler
    >>> schedule_of(FlowMatchEulerDiscreteScheduler(shift=3.0)).prediction
    'flow'
    """
    if not hasattr(scheduler, "alphas_cumprod") or str(scheduler.config.get("prediction_type")).startswith("flow"):
        return Schedule.flow()
    return Schedule.from_alphas_cumprod(scheduler.alphas_cumprod, scheduler.config.prediction_type)
