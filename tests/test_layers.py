"""The house keeps its layers: who may import whom, read from the source of every file; and files stay small."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "shiftless"
FILES = sorted(PACKAGE.rglob("*.py"))

ROWS = {  # a room imports only from its own row and the rows above it; the longest name that fits counts
    "errors": 0,
    "digest": 1,
    "progress": 1,
    "files": 1,
    "recipe": 1,
    "presets": 1,
    "taps.names": 1,
    "image": 1,
    "noise": 1,
    "metrics": 1,
    "taps": 2,
    "features": 2,
    "conditions": 3,
    "backbones": 4,
    "reading": 5,
    "lora": 5,
    "store": 5,
    "auditing": 5,
    "amalgamate": 6,
    "tasks": 6,
    "data": 7,
    "mini": 7,
    "bench": 7,
    "view": 7,
    "demo": 7,
    "cli": 7,
    "": 8,  # shiftless itself, which hands out the public names
    "__main__": 8,
}
STANDARD_LIBRARY_ONLY = {"errors", "recipe", "presets", "taps.names"}
HEADS = {"amalgamate", "tasks"}  # trained from saved features on a laptop: they know no model
HEADS_NEVER = {"conditions", "backbones", "reading", "store", "auditing"}
MODEL_LIBRARIES = {"diffusers", "transformers", "peft"}
MODEL_ROOMS = {"conditions", "backbones", "mini"}  # the mini is where a model is trained
NEVER = {"torchvision", "timm"}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


def room_of(module: str) -> str:
    parts = module.split(".")
    names = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    found = next((name for name in names if name in ROWS), None)
    assert found is not None, f"shiftless.{module} stands in no row; give it one in {__file__}"
    return found


def imports_of(source: str, module: str, is_package: bool) -> set[str]:
    """Every module that the source imports, at its head, inside functions or for types, by its full name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = ["shiftless", *filter(None, module.split("."))]
                above = here[: len(here) - node.level + is_package]
                base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.add(full if full.removeprefix("shiftless.") in MODULES else base)
    return found


def complaints(source: str, module: str, is_package: bool = False) -> list[str]:
    room, out = room_of(module), []
    for name in sorted(imports_of(source, module, is_package)):
        top = name.split(".")[0]
        if top == "shiftless":
            other = room_of(name.removeprefix("shiftless").removeprefix("."))
            if ROWS[other] > ROWS[room]:
                out.append(f"imports {name}, which stands below it")
            if room in HEADS and other in HEADS_NEVER:
                out.append(f"imports {name}; heads know features only")
        elif top in NEVER or (top in MODEL_LIBRARIES and room not in MODEL_ROOMS):
            out.append(f"imports {name}, which has no place there")
        elif room in STANDARD_LIBRARY_ONLY and top not in {*sys.stdlib_module_names, "tomli"}:
            out.append(f"imports {name}; this room takes the standard library only")
    return out


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_file_imports_only_what_stands_above_it(path):
    assert complaints(path.read_text(encoding="utf-8"), module_of(path), path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("source", "module", "message"),
    [
        ("from shiftless.backbones.base import Spec", "features", "stands below"),
        ("def f():\n    import shiftless.cli", "mini", None),
        ("def f():\n    import shiftless.backbones.base", "image", "stands below"),
        ("from shiftless import features", "recipe", "stands below"),
        ("from shiftless import load", "mini", "stands below"),
        ("from . import hooks", "taps.names", "stands below"),
        ("from ..recipe import Recipe", "taps.hooks", None),
        ("from .names import Tap", "taps.hooks", None),
        ("from shiftless.backbones.base import Spec", "tasks.correspondence", "heads know features only"),
        ("from shiftless.features import FeatureMaps", "tasks.correspondence", None),
        ("import diffusers", "features", "has no place"),
        ("from transformers.models import upernet", "bench.spair", "has no place"),
        ("from diffusers import AutoencoderKL", "backbones.sd", None),
        ("import torchvision", "backbones.sd", "has no place"),
        ("import torch", "recipe", "standard library only"),
        ("import torch", "image", None),
        ("from shiftless.backbones import base", "conditions.prompt", "stands below"),
    ],
)
def test_the_check_itself_sees_what_it_should(source, module, message):
    found = complaints(source, module)
    assert (message is None and not found) or (message is not None and any(message in line for line in found))


def test_files_stay_small():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {path.name: n for path, n in lengths.items() if n > 400} == {}
    assert statistics.median(lengths.values()) <= 200


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


def test_importing_shiftless_loads_nothing_heavy():
    heavy = {"torch", "diffusers", "transformers", "peft", "cv2", "matplotlib", "PIL"}
    assert loaded_after("import shiftless") & heavy == set()
    assert "torch" in loaded_after("import shiftless.noise")  # the check sees what is loaded
