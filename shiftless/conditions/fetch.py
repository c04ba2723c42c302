"""Fetching from the model hub: the one place that uses the network, and only when the user asks for it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from shiftless.conditions.weights import DIFFUSERS, TRANSFORMERS, VARIANTS
from shiftless.errors import BadInput, first_line

_PARTS = re.compile(r"(unet|transformer|vae|vqvae|text_encoder(_\d)?|tokenizer(_\d)?|scheduler)")
"""The folders of a diffusers repository that are read; a safety checker or a feature extractor is not."""
_DENOISERS = ("unet/config.json", "transformer/config.json")
_SETTINGS = (".json", ".txt", ".model", ".jinja")
_STEMS = (DIFFUSERS, TRANSFORMERS, "adapter_model", "pytorch_lora_weights")


def chosen_files(listing: Iterable[str]) -> list[str]:
    """Return the files of a repository that loading reads: settings, vocabularies, and one form of the weights.

    listing  every file of the repository, by its path

    Of each part the usual safetensors weights are taken, whole or in parts (shards); where there are none, those of
    half precision; where there is no safetensors file at all, the pickles, which can then be converted.

    >>> chosen_files(["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.fp16.safetensors",
    ...               "unet/diffusion_pytorch_model.safetensors", "safety_checker/model.safetensors"])
    ['model_index.json', 'unet/config.json', 'unet/diffusion_pytorch_model.safetensors']
    """
    files = sorted(listing)
    flat = "config.json" in files  # the first pixel-space models have the denoiser beside model_index.json
    whole = any(name in files for name in _DENOISERS) or ("model_index.json" in files and not flat)
    folders: dict[str, list[str]] = {}
    for name in files:
        folder = str(PurePosixPath(name).parent)
        if folder == "." or (whole and _PARTS.fullmatch(folder)):
            folders.setdefault(folder, []).append(name)
    chosen: list[str] = []
    for folder, inside in folders.items():
        chosen += [name for name in inside if name.endswith(_SETTINGS) and ".index." not in name]
        chosen += _weights(inside) if not whole or folder != "." else []
    return sorted(chosen)


def _weights(files: Sequence[str]) -> list[str]:
    """The weights of one folder: of one stem and one precision, with their index if they are in parts."""
    for suffix in (".safetensors", ".bin"):
        for stem in (*_STEMS, "pytorch_model"):
            for variant in VARIANTS:
                dotted = re.escape(f".{variant}" if variant else "")
                whole = rf"(.*/)?{stem}{dotted}{re.escape(suffix)}"
                parts = rf"(.*/)?{stem}({dotted}-\d+-of-\d+|-\d+-of-\d+{dotted}){re.escape(suffix)}"
                index = rf"(.*/)?{stem}{re.escape(suffix)}\.index{dotted}\.json"
                if found := [name for name in files if re.fullmatch(whole, name)]:
                    return found
                if found := [name for name in files if re.fullmatch(parts, name)]:
                    return [*found, *(name for name in files if re.fullmatch(index, name))]
    return [name for name in files if name.endswith(".safetensors")]


def fetch(hub_id: str, *, only: Sequence[str] = (), more: Sequence[str] = (), report: Any = None) -> Path:
    """Fetch what loading reads of a repository into the hub's cache and return its folder.

    only    globs of the files to fetch, of those that loading reads, or names of any; by default all that are read
    more    globs of files to fetch besides
    report  called with the number of files and of bytes before anything is fetched

    What is there already is not fetched again, and an interrupted fetch goes on where it stopped. Raises BadInput for
    a repository that does not exist, one whose licence must be accepted first, a disk that is too full, and where
    there is no network.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    page = f"https://huggingface.co/{hub_id}"
    try:
        siblings = HfApi().model_info(hub_id, files_metadata=True).siblings or []
        sizes = {one.rfilename: int(one.size or 0) for one in siblings}
        files = [name for name in chosen_files(sizes) if not only or _matches(name, only)]
        files += [name for name in sizes if name not in files and name in only]
        files += [name for name in sizes if name not in files and _matches(name, more)]
        if not files:
            raise BadInput(
                f"{hub_id}: holds no weights or settings that could be read ({len(sizes)} files); see {page}"
            )
        size = sum(sizes[name] for name in files)
        if report is not None:
            report(len(files), size)
        _check_space(Path(constants.HF_HUB_CACHE), size, hub_id)
        return Path(snapshot_download(hub_id, allow_patterns=files))
    except GatedRepoError:
        raise BadInput(
            f"{hub_id}: its licence must be accepted first, at {page}; then run `hf auth login` and fetch it again"
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise BadInput(f"{hub_id}: no such repository on the hub, or it is private; check the name at {page}") from None
    except HfHubHTTPError as error:
        raise BadInput(f"{hub_id}: the hub refused ({first_line(error)[:200]}); try again later") from None
    except BadInput:
        raise
    except Exception as error:  # the libraries below raise many kinds where there is no network
        reason = first_line(error)[:200]
        raise BadInput(
            f"{hub_id}: cannot be fetched ({reason}); check the network and fetch it again: it goes on from here"
        ) from None


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(PurePosixPath(name).match(glob) for glob in globs)


def _check_space(cache: Path, size: int, hub_id: str) -> None:
    place = next(folder for folder in (cache, *cache.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    if size > free:
        raise BadInput(
            f"{hub_id}: needs {size / 1e9:.1f} GB and {place} has {free / 1e9:.1f} GB free; free some space, or set "
            "HF_HOME to a folder on another disk"
        )
