"""Groups that load a model's files: LoRAs, model folders, ControlNets and captioners."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.robustness.files import Case, picture
from benchmarks.robustness.mutation import json_text, mutated_bytes, mutated_json, mutated_safetensors
from benchmarks.robustness.outcome import check

WEIGHTS = Path(__file__).parents[2] / "shiftless" / "mini" / "weights"


def loras(rng: random.Random, folder: Path) -> Iterator[Case]:
    """Broken LoRAs; one that is taken gives finite features and leaves the model as it was, to the bit."""
    import shiftless

    data = (WEIGHTS / "loras" / "photo-a.safetensors").read_bytes()
    model = shiftless.load("mini", device="cpu", dtype="fp32", size=64)
    recipe = shiftless.Recipe(taps=("up0",), lora=(str(folder / "a.safetensors"),), size=64)
    bare = recipe.but(lora=())
    before = shiftless.extract(model, picture(), bare)["up0"]
    while True:
        broken = mutated_safetensors(data, rng)

        def act(broken: bytes = broken) -> None:
            (folder / "a.safetensors").write_bytes(broken)
            try:
                result = shiftless.extract(model, picture(), recipe)["up0"]
                check(torch.isfinite(result).all(), "features that are not finite")
            finally:
                after = shiftless.extract(model, picture(), bare)["up0"]
                check(torch.equal(before, after), "the model is not what it was before")

        yield repr(broken[8:90]), act


def model_folders(rng: random.Random, folder: Path) -> Iterator[Case]:
    """Model folders of which one file is broken; one that loads gives finite features."""
    import shiftless
    from shiftless.backbones.registry import models, taps
    from shiftless.backbones.twins import save_folder, twin_parts

    whole = folder / "whole"
    save_folder(twin_parts(models()["sd15"]), whole)
    files = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file()]
    files = [path for path in files if path.name != "model_index.json"]
    configs = [path for path in files if path.name.endswith("config.json")]
    broken = Path(shutil.copytree(whole, folder / "broken"))
    while True:
        path = rng.choice(configs) if rng.random() < 0.7 else rng.choice(files)
        data = _broken(whole / path, rng)

        def act(path: Path = path, data: bytes | None = data) -> None:
            target = broken / path
            target.unlink()
            if data is not None:
                target.write_bytes(data)
            try:
                taps(broken)
                model = shiftless.load(broken, device="cpu", dtype="fp32")
                recipe = shiftless.Recipe(taps=("up0",), prompt="a cat", size=64)
                result = shiftless.extract(model, picture(), recipe)["up0"]
                check(torch.isfinite(result).all(), "features that are not finite")
            finally:
                shutil.copyfile(whole / path, target)

        yield f"{path} {(data or b'')[:60]!r}", act


def controlnets(rng: random.Random, folder: Path) -> Iterator[Case]:
    """ControlNets of which one file is broken; one that loads gives finite features."""
    import shiftless

    place = Path(shutil.copytree(WEIGHTS / "controlnet-canny", folder / "canny"))
    model = shiftless.load("mini", device="cpu", dtype="fp32", size=64)
    recipe = shiftless.Recipe(taps=("up0",), control=(f"canny={place}",), size=64)
    files = sorted(path for path in (WEIGHTS / "controlnet-canny").iterdir() if path.is_file())
    while True:
        source = next(f for f in files if f.name == "config.json") if rng.random() < 0.7 else rng.choice(files)
        data = _broken(source, rng)

        def act(source: Path = source, data: bytes | None = data) -> None:
            target = place / source.name
            target.unlink(missing_ok=True)
            if data is not None:
                target.write_bytes(data)
            try:
                result = shiftless.extract(model, picture(), recipe)["up0"]
                check(torch.isfinite(result).all(), "features that are not finite")
            finally:
                shutil.copyfile(source, target)

        yield f"{source.name} {(data or b'')[:60]!r}", act


def captioners(rng: random.Random, folder: Path) -> Iterator[Case]:
    """Captioners of which one file is broken; one that loads says something."""
    from shiftless.conditions.caption import load_captioner
    from shiftless.image import open_photo

    place = Path(shutil.copytree(WEIGHTS / "captioner", folder / "captioner"))
    files = sorted(path for path in (WEIGHTS / "captioner").iterdir() if path.is_file())
    photo = open_photo(picture())
    while True:
        source = rng.choice(files)
        data = _broken(source, rng)

        def act(source: Path = source, data: bytes | None = data) -> None:
            target = place / source.name
            target.unlink(missing_ok=True)
            if data is not None:
                target.write_bytes(data)
            try:
                (text,) = load_captioner(place).caption([photo])
                check(text.strip(), "an empty caption")
            finally:
                shutil.copyfile(source, target)

        yield f"{source.name} {(data or b'')[:60]!r}", act


def _broken(source: Path, rng: random.Random) -> bytes | None:
    """A broken copy of a file, by its kind; None for a file that is lost."""
    if rng.random() < 0.03:
        return None
    data = source.read_bytes()
    if source.suffix == ".json":
        value: Any = json.loads(data)
        return json_text(mutated_json(value, rng), rng)
    if source.suffix == ".safetensors":
        return mutated_safetensors(data, rng)
    return mutated_bytes(data, rng)
