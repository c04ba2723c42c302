"""Saved: modules that are kept as one safetensors file, with the recipes they belong to inside."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from torch import nn

from shiftless.amalgamate.card import card
from shiftless.atomic import write_atomic
from shiftless.digest import in_order
from shiftless.errors import BadInput
from shiftless.recipe import Recipe

WEIGHTS, CONFIG = "model.safetensors", "config.json"
_LONGEST = 1 << 16  # characters of a header's field; a usual one has a few thousand
_KIND = 40  # characters of the name of what a file holds
S = TypeVar("S", bound="Saved")


class Saved(nn.Module, PyTorchModelHubMixin, library_name="shiftless"):
    """A module that `save_pretrained`, `from_pretrained` and `push_to_hub` keep together with its recipes.

    recipes   what its K readings were read with; () if nobody said
    settings  the constructor's other arguments, as plain values
    out_channels  of the map it gives

    >>> import tempfile
    >>> from shiftless.amalgamate.simple import Mean
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Mean(8, recipes=[Recipe(seed=1)]).save_pretrained(folder)
    ...     Mean.from_pretrained(folder).recipes[0].seed
    1
    """

    kind: ClassVar[str] = ""
    recipes: tuple[Recipe, ...]
    settings: dict[str, Any]
    out_channels: int

    def __init__(self, settings: dict[str, Any], recipes: Sequence[Recipe]) -> None:
        super().__init__()
        self.settings, self.recipes = settings, tuple(recipes)

    def save(self, path: str | os.PathLike[str], dtype: torch.dtype | None = None) -> Path:
        """Write one safetensors file that `from_pretrained` opens; a `dtype` of 16 bits halves it."""
        from safetensors.torch import save

        recipes = [recipe.to_dict() for recipe in self.recipes]
        header = {"shiftless": self.kind, "settings": json.dumps(self.settings), "recipes": json.dumps(recipes)}
        state = {name: value.detach().contiguous().cpu() for name, value in self.state_dict().items()}
        if dtype is not None:
            state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
        return write_atomic(path, in_order(save(state, metadata=header)))

    def _save_pretrained(self, save_directory: Path) -> None:
        self.save(save_directory / WEIGHTS)
        recipes = [recipe.to_dict() for recipe in self.recipes]
        config = {"shiftless": self.kind, **self.settings, "recipes": recipes}  # for people; it is not read back
        write_atomic(save_directory / CONFIG, (json.dumps(config, indent=1, ensure_ascii=False) + "\n").encode())

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Return the README that `save_pretrained` and `push_to_hub` write beside the weights."""
        name, module = type(self).__name__, type(self).__module__
        usage = f"from {module} import {name}\n\nmodule = {name}.from_pretrained(FOLDER)"
        return card(self.kind or name.lower(), self.settings, self.recipes, usage)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # house rule: nothing is fetched unless asked for
        cls: type[S], place: str | os.PathLike[str], *, local_files_only: bool = True, **hub: Any
    ) -> S:
        """Open what `save_pretrained` wrote, ready to use (eval mode).

        place             its folder, the .safetensors file itself, or a hub id
        local_files_only  False lets huggingface_hub fetch a hub id; `hub` are its options (revision, token ...)

        Raises BadInput for a place that is not here, a file of something else and weights that do not fit.
        """
        path = _find(place, local_files_only, hub)
        settings, recipes, state = _read(path, cls.kind)
        try:
            with torch.device("meta"):  # nothing is allocated for settings that do not fit the weights
                module = cls(**settings, recipes=recipes)
            dtypes = {name: value.dtype for name, value in module.state_dict().items()}
            state = {name: value.to(dtypes.get(name, value.dtype)) for name, value in state.items()}
            module.load_state_dict(state, assign=True)
        except Exception as error:  # settings that nobody wrote make the constructors raise nearly anything
            raise BadInput(f"{path}: its weights and settings do not fit ({_line(error)}); fit it again") from None
        return module.eval()


def _find(place: str | os.PathLike[str], local_files_only: bool, hub: dict[str, Any]) -> Path:
    path = Path(place)
    if path.is_dir():
        return path / WEIGHTS
    if path.is_file():
        return path
    try:
        return Path(hf_hub_download(os.fspath(place), WEIGHTS, local_files_only=local_files_only, **hub))
    except (OSError, ValueError) as error:  # not in the cache, or no hub id at all
        known = f"no such folder or file, and no fetched hub id ({type(error).__name__})"
        raise BadInput(f"{place}: {known}; check the path, or fetch it with hf download") from None


def _read(path: Path, kind: str) -> tuple[dict[str, Any], list[Recipe], dict[str, torch.Tensor]]:
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            if header.get("shiftless") == kind:
                return *_parsed(header), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # broken headers make the parsers raise nearly anything
        raise BadInput(f"{path}: not a whole file of a saved {kind!r} ({_line(error)}); save it again") from None
    content = header.get("shiftless", "something else")
    if len(content) > _KIND:  # a LoRA of ours keeps there how it was trained
        content = "something else"
    raise BadInput(f"{path}: holds {content}, not a saved {kind!r}; give the folder that it was saved in")


def _parsed(header: dict[str, str]) -> tuple[dict[str, Any], list[Recipe]]:
    if max(len(header["settings"]), len(header["recipes"])) > _LONGEST:
        raise ValueError(f"its header is longer than {_LONGEST} characters")
    settings, rows = json.loads(header["settings"]), json.loads(header["recipes"])
    if not isinstance(settings, dict) or not isinstance(rows, list):
        raise ValueError("its settings are no table, or its recipes no list")
    return settings, [Recipe.from_dict(row) for row in rows]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
