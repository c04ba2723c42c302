"""Configs of model folders: read, checked field by field, and compared with the weights before anything is built."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shiftless.errors import BadInput, first_line

MOST_BYTES = 2**25  # of a config; the longest vocabularies have a few million
AGAIN = "fetch or save the model again"


@dataclass(frozen=True)
class Field:
    """What one field of a config may hold: a value, null where `null`, and a list of up to `many` values.

    kind     int, float (which takes whole numbers too), bool, str or None (only null)
    low, high, choices   the range of a number, the words a string is one of
    only     whether it is always a list
    default  what the libraries take for a field that is missing
    """

    kind: type | None
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    null: bool = False
    many: int = 0
    only: bool = False
    default: Any = None

    def takes(self, value: Any) -> bool:
        """Whether a value from JSON is one of those that the field may hold.

        >>> [Field(int, 1, 8, many=2).takes(value) for value in (8, 9, 8.0, True, None, [1, 2], [1, 2, 3], [None])]
        [True, False, False, False, False, True, False, False]
        """
        if value is None:
            return self.null or self.kind is None
        if isinstance(value, list):
            return 0 < len(value) <= self.many and all(self._one(item) for item in value)
        return not self.only and self._one(value)

    def _one(self, value: Any) -> bool:
        if self.kind is bool or isinstance(value, bool):
            return self.kind is bool and isinstance(value, bool)
        if self.kind is str:
            return isinstance(value, str) and (not self.choices or value in self.choices)
        if self.kind is float and isinstance(value, float):
            return math.isfinite(value) and self.low <= value <= self.high
        return self.kind in (int, float) and isinstance(value, int) and self.low <= value <= self.high

    def __str__(self) -> str:
        if self.kind is None:
            return "null"
        word = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}[self.kind]
        if self.choices:
            word = f"one of {', '.join(self.choices)}"
        elif math.isfinite(self.low):
            word += f" from {self.low:g} to {self.high:g}" if math.isfinite(self.high) else f" of at least {self.low:g}"
        if self.many:
            most = f"a list of up to {self.many}"
            word = f"{most}, each {word}" if self.only else f"{word}, or {most}"
        return f"{word}, or null" if self.null else word


def read_config(path: Path, missing: str = "") -> dict[str, Any]:
    """Return the JSON object that a file of a model folder holds.

    missing  what to say where the file cannot be read, instead of the system's reason

    Raises BadInput naming the file for one that cannot be read, is not JSON, is nested too deeply or is no object.

    >>> read_config(Path("nowhere.json"))
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere.json: cannot be read (No such file or directory); fetch or save the model again
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise BadInput(f"{path}: {size} bytes is too much for a config; {AGAIN}")
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(missing or f"{path}: cannot be read ({error.strerror}); {AGAIN}") from None
    except RecursionError:
        raise BadInput(f"{path}: nested too deeply for a config; {AGAIN}") from None
    except BadInput:
        raise
    except ValueError:  # not UTF-8, not JSON, or a number of thousands of digits
        raise BadInput(f"{path}: not valid JSON; {AGAIN}") from None
    if not isinstance(config, dict):
        raise BadInput(f"{path}: must hold one JSON object {{...}}, not {short(config)}; {AGAIN}")
    return config


def check_fields(config: Mapping[str, Any], fields: Mapping[str, Field], path: Path) -> dict[str, Any]:
    """Return a config with the defaults of the fields that it lacks; raises BadInput for the first that is wrong.

    Fields that the table does not list stay as they are.

    >>> check_fields({"depth": 0}, {"depth": Field(int, 1, 9)}, Path("config.json"))
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: config.json: 'depth' is 0; it must be a whole number from 1 to 9; fetch or save the ...
    """
    for name, field in fields.items():
        if name in config and not field.takes(config[name]):
            raise BadInput(f"{path}: '{name}' is {short(config[name])}; it must be {field}; {AGAIN}")
    defaults = {name: field.default for name, field in fields.items() if field.default is not None}
    return {**defaults, **config}


@dataclass(frozen=True)
class Claim:
    """What a field of a config implies for the weights: the size of a tensor along one dimension, or a list's length.

    field  whose value it is, for the message
    name   a tensor's name, or its end; or, without a dim, a module list's
    value  the size along `dim`, or the number of modules in the list
    """

    field: str
    name: str
    value: int
    dim: int | None = None


def check_weights(claims: Iterable[Claim], folder: Path, path: Path) -> None:
    """Compare what a config says with the headers of the safetensors files of its folder; no weight is read.

    Raises BadInput, naming the config, the field and the tensor, where they differ, and for broken headers.
    """
    shapes = weight_shapes(folder)
    counts = _list_lengths(shapes)
    for claim in claims:
        if claim.dim is None:
            value = counts.get(_match(claim.name, counts), 0)
        else:
            shape = shapes.get(_match(claim.name, shapes), ())
            if claim.dim >= len(shape):
                raise BadInput(f"{path}: '{claim.field}' needs {claim.name}, which the weights lack; {AGAIN}")
            value = shape[claim.dim]
        if value != claim.value:
            where = f"{claim.name} has {value}"
            raise BadInput(f"{path}: '{claim.field}' asks for {claim.value} where the weights' {where}; {AGAIN}")


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a folder's safetensors files, by name, from their headers alone.

    Raises BadInput naming a file that is no whole safetensors file.

    >>> weight_shapes(Path("nowhere"))
    {}
    """
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as opened:
                for name in opened.keys():  # noqa: SIM118  # the object is no mapping
                    shapes.setdefault(name, tuple(opened.get_slice(name).get_shape()))
        except (SafetensorError, OSError, ValueError) as error:
            raise BadInput(f"{file}: not a whole safetensors file ({first_line(error)}); {AGAIN}") from None
    return shapes


def check_finite(config: Any, path: Path, depth: int = 32) -> None:
    """Raise BadInput where any number of a config is not finite, in any field.

    >>> check_finite({"scale": [1.0, math.nan]}, Path("config.json"))
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: config.json: holds nan, which is no finite number; fetch or save the model again
    """
    if depth == 0:
        raise BadInput(f"{path}: nested too deeply for a config; {AGAIN}")
    if isinstance(config, float) and not math.isfinite(config):
        raise BadInput(f"{path}: holds {config}, which is no finite number; {AGAIN}")
    inner: Sequence[Any] = list(config.values()) if isinstance(config, dict) else config
    if isinstance(config, dict | list):
        for value in inner:
            check_finite(value, path, depth - 1)


def check_layers(folder: Path, config: Mapping[str, Any], path: Path) -> None:
    """Raise BadInput where a transformers config asks for many more layers than its weights hold, before it is built.

    Any family: every whole number whose name ends in "layers", and every list called "depths", in it or one level
    below, is held against the longest numbered list of modules in the weights.
    """
    check_finite(config, path)
    most = max(_list_lengths(weight_shapes(folder)).values(), default=0)
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for name, value in part.items():
            for number in value if isinstance(value, list) else [value]:
                counted = name.endswith(("layers", "depths", "depth"))
                if counted and isinstance(number, int) and number > 2 * most + 16:  # some fields belong to no part
                    raise BadInput(f"{path}: '{name}' is {short(value)}, but the weights hold {most} layers; {AGAIN}")


def check_complete(info: Mapping[str, Any], place: Path) -> None:
    """Raise BadInput where a library filled weights that the files lack with random numbers.

    info  what `from_pretrained` reports with output_loading_info=True

    >>> check_complete({"missing_keys": []}, Path("unet"))
    """
    missing = sorted(str(key) for key in info.get("missing_keys") or ())
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BadInput(f"{place}: the weights lack {missing[0]}{more}, which config.json asks for; {AGAIN}")


def check_values(network: Any, place: Path) -> None:
    """Raise BadInput where a loaded network holds a weight that is not finite: every feature would be NaN.

    >>> import torch
    >>> check_values(torch.nn.Linear(2, 3), Path("unet"))
    """
    import torch

    for name, weight in network.named_parameters():
        if weight.numel() and not all(torch.isfinite(end) for end in torch.aminmax(weight.detach())):
            kind = str(weight.dtype).removeprefix("torch.")
            raise BadInput(f"{place}: {name} holds values that are not finite in {kind}; {AGAIN}")


def short(value: Any) -> str:
    """Return a JSON value for a message, at most 40 characters.

    >>> short(None), short([1] * 100)
    ('null', '[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, ...')
    """
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 40 else text[:37] + "..."


def _list_lengths(shapes: Mapping[str, Any]) -> dict[str, int]:
    """How many numbered modules stand under each name: {"down_blocks": 4, "down_blocks.0.resnets": 2, ...}."""
    lists: dict[str, set[str]] = {}
    for name in shapes:
        parts = name.split(".")
        for i, part in enumerate(parts):
            if i and part.isdecimal():
                lists.setdefault(".".join(parts[:i]), set()).add(part)
    return {name: len(numbers) for name, numbers in lists.items()}


def _match(end: str, names: Iterable[str]) -> str:
    """The name itself, or the shortest one that ends in it: some libraries prefix the names of a part."""
    return min((name for name in names if f".{name}".endswith(f".{end}")), key=len, default="")
