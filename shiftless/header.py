"""Headers of feature files: what a safetensors file says of the maps in it, written and read with every value checked.

A header is a text for each of FIELDS; docs/features.md says what each holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from shiftless.errors import BadInput
from shiftless.image import Frame
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap

KIND = "features"
SAVED = {"fp16": torch.float16, "fp32": torch.float32, "bf16": torch.bfloat16}
"""What maps may be saved in; NumPy reads the first two."""
FIELDS = ("recipe", "frame", "taps", "name", "words", "prompt", "origin")
_LARGEST = 2**31 - 1
_SAVED_OF_TAPS = tuple(f.name for f in fields(Tap) if f.name != "modulation")  # which only reading needs


@dataclass(frozen=True)
class Origin:
    """What features were made from, by content; a field that is empty is not known.

    photo        digest of the photo's pixels
    model        the name that the model was loaded by, for people
    fingerprint  digest of the model's weights
    adapters     (what, digest of its contents) for each LoRA, ControlNet and captioner
    dtype        in which the model computed: "fp32", "bf16" or "fp16"
    pool         how many cells along each side were averaged into one; 1 is the map as it was read

    >>> Origin(model="sd15", adapters=(("lora horses.safetensors", "5f1d"),)).pool
    1
    """

    photo: str = ""
    model: str = ""
    fingerprint: str = ""
    adapters: tuple[tuple[str, str], ...] = ()
    dtype: str = ""
    pool: int = 1

    def conflict(self, other: Origin) -> str:
        """Say why features of the two must not be compared: two models, or two contents of one adapter; else "".

        >>> Origin(model="mini", fingerprint="1f").conflict(Origin(model="sd15", fingerprint="2e"))
        'two models (mini, weights 1f; sd15, weights 2e)'
        """
        if self.fingerprint and other.fingerprint and self.fingerprint != other.fingerprint:
            names = (f"{one.model or 'unnamed'}, weights {one.fingerprint[:8]}" for one in (self, other))
            return f"two models ({'; '.join(names)})"
        theirs = dict(other.adapters)
        for what, digest in self.adapters:
            if theirs.get(what, digest) != digest:
                return f"two versions of {what} (contents {digest[:8]} and {theirs[what][:8]})"
        return ""


def to_header(
    taps: Mapping[str, Tap],
    frame: Frame,
    recipe: Recipe,
    name: str,
    words: tuple[str, ...],
    prompt: str,
    origin: Origin,
) -> dict[str, str]:
    """Return the header of a file of features."""
    return {
        "shiftless": KIND,
        "recipe": recipe.to_toml(),
        "frame": json.dumps([frame.original, frame.fed]),
        "taps": json.dumps([{name: asdict(tap)[name] for name in _SAVED_OF_TAPS} for tap in taps.values()]),
        "name": name,
        "words": json.dumps(words),
        "prompt": prompt,
        "origin": json.dumps({**asdict(origin), "adapters": dict(origin.adapters)}),
    }


def from_header(header: Mapping[str, str]) -> dict[str, Any]:
    """Return what a header says, by the names of FeatureMaps' fields; raises ValueError, or BadInput with a remedy.

    >>> from_header({"shiftless": "gate"})
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: holds a saved gate, not features; give a file that extract or FeatureMaps.save wrote
    """
    kind = header.get("shiftless", KIND)
    if kind != KIND:
        raise BadInput(f"holds a saved {kind}, not features; give a file that extract or FeatureMaps.save wrote")
    if "taps" in header and "origin" not in header:
        raise BadInput("was written by an older version, which did not record the model; extract it again")
    if missing := [field for field in FIELDS if field not in header]:
        raise ValueError(f"its header has no {missing[0]}")
    taps = [_tap(row) for row in _list("taps", json.loads(header["taps"]))]
    if len({tap.name for tap in taps}) != len(taps) or not taps:
        raise ValueError("its taps are not each named once")
    frame = [_list("frame", hw, 2) for hw in _list("frame", json.loads(header["frame"]), 2)]
    (h, w), (fed_h, fed_w) = ((_whole("frame", side, 1) for side in hw) for hw in frame)
    return {
        "taps": {tap.name: tap for tap in taps},
        "frame": Frame((h, w), (fed_h, fed_w)),
        "recipe": Recipe.from_toml(header["recipe"]),
        "name": header["name"],
        "words": tuple(_text("words", word) for word in _list("words", json.loads(header["words"]))),
        "prompt": header["prompt"],
        "origin": _origin(json.loads(header["origin"])),
    }


def check_map(tap: Tap, value: torch.Tensor) -> torch.Tensor:
    """Return a map if it is one of its tap: floating point, 1 C H W, with the tap's channels; else raise ValueError."""
    if value.ndim != 4 or len(value) != 1 or not value.numel() or not value.is_floating_point():
        raise ValueError(f"map {tap.name} is {value.dtype} of shape {tuple(value.shape)}, not floats 1 C H W")
    if tap.channels not in (0, value.shape[1]):  # 0: the prompt's length decides
        raise ValueError(f"map {tap.name} has {value.shape[1]} channels, its header says {tap.channels}")
    return value


def all_finite(value: torch.Tensor) -> bool:
    """Whether no value is NaN or infinite: by the least and the largest one, in a tenth of the time of `isfinite`.

    >>> all_finite(torch.ones(2)), all_finite(torch.tensor([1.0, torch.nan])), all_finite(torch.ones(0))
    (True, False, True)
    """
    return not value.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(value))).all())


def stored(value: torch.Tensor, dtype: str | None = None) -> torch.Tensor:
    """Return a map as it is written: contiguous, on the CPU, in a dtype of SAVED.

    None keeps it as it is, but for bfloat16, which NumPy does not read: it becomes fp16. A map with a finite value
    beyond the dtype's range is kept in fp32, so that no value becomes infinite by being saved. Raises BadInput for
    another dtype.

    >>> stored(torch.tensor([65504.0]), "fp16").dtype, stored(torch.tensor([65520.0]), "fp16").dtype
    (torch.float16, torch.float32)
    """
    if dtype is None:
        dtype = "fp16" if value.dtype == torch.bfloat16 else None
    elif dtype not in SAVED:
        raise BadInput(f"dtype={dtype!r}: must be one of {', '.join(SAVED)}")
    value = value.detach().cpu().contiguous()
    if dtype is None:
        return value
    cast = value.to(SAVED[dtype])
    lost = not all_finite(cast) and bool((torch.isfinite(value) & ~torch.isfinite(cast)).any())
    return value.float() if lost else cast


def text_dtype(name: str) -> str:
    """Return the package's name of a dtype that safetensors calls F16, BF16 or F32.

    >>> text_dtype("BF16"), text_dtype("F16")
    ('bf16', 'fp16')
    """
    return name.lower() if name.startswith("BF") else f"fp{name[1:]}"


def _tap(row: Any) -> Tap:
    checks: dict[str, Callable[[Any], Any]] = {name: lambda value: _text("taps", value) for name in _SAVED_OF_TAPS}
    checks["channels"] = lambda value: _whole("taps", value, 0)
    checks["stride"] = lambda value: _whole("taps", value, 1)
    checks["members"] = lambda value: tuple(_text("taps", member) for member in _list("taps", value))
    return Tap(**_checked("taps", row, checks))


def _origin(row: Any) -> Origin:
    checks: dict[str, Callable[[Any], Any]] = {f.name: lambda value: _text("origin", value) for f in fields(Origin)}
    checks["pool"] = lambda value: _whole("origin", value, 1)
    checks["adapters"] = _adapters
    return Origin(**_checked("origin", row, checks))


def _adapters(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise ValueError("its origin's adapters are no table")
    return tuple((_text("origin", what), _text("origin", digest)) for what, digest in value.items())


def _checked(field: str, row: Any, checks: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    if not isinstance(row, dict) or set(row) != set(checks):
        raise ValueError(f"its {field} are not tables of {', '.join(checks)}")
    return {name: check(row[name]) for name, check in checks.items()}


def _list(field: str, value: Any, length: int | None = None) -> list[Any]:
    if not isinstance(value, list) or len(value) != (len(value) if length is None else length):
        raise ValueError(f"its {field} are no list{'' if length is None else f' of {length}'}")
    return value


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"its {field} hold {type(value).__name__} in place of text")
    value.encode()  # raises for an unpaired surrogate
    return value


def _whole(field: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST:
        raise ValueError(f"its {field} hold a value that is no whole number from {least} up")
    return value
