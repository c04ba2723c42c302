"""The house keeps its layers: who may import whom, read from the source of every file; and files stay small."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("shiftless", "miniworld")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

ORDER = (  # a room imports only from itself and from rooms above it; the longest name that fits counts
    "shiftless.errors",
    "shiftless.progress",
    "shiftless.plugins",
    "shiftless.mini",
    "shiftless.atomic",
    "shiftless.digest",
    "shiftless.recipe",
    "shiftless.presets",
    "shiftless.taps.names",
    "shiftless.pixels",
    "shiftless.image",
    "shiftless.noise",
    "shiftless.memory_format",
    "shiftless.metrics",
    "shiftless.taps",
    "shiftless.header",
    "shiftless.features",
    "shiftless.conditions",
    "shiftless.backbones",
    "shiftless.reading",
    "shiftless.store",
    "shiftless.engines",
    "shiftless.auditing",
    "shiftless.amalgamate",
    "shiftless.tasks",
    "shiftless.segmenting",
    "shiftless.searching",
    "shiftless.training",
    "shiftless.tuning",
    "shiftless.data",
    "shiftless.bench",
    "shiftless.view",
    "shiftless",  # shiftless itself, which hands out the public names
    "shiftless.explore",
    "shiftless.cli",
    "shiftless.__main__",
    "miniworld",
    "miniworld.world",
    "miniworld.world.bedroom",
    "miniworld.world.street",
    "miniworld.datasets",
    "miniworld.oracle",
    "miniworld.gan",
    "miniworld.training",
    "miniworld.tables",
    "miniworld.demo",
    "miniworld.commands",
)
ROWS = {room: row for row, room in enumerate(ORDER)}
STANDARD_LIBRARY_ONLY = {
    "shiftless.errors", "shiftless.plugins", "shiftless.mini", "shiftless.recipe", "shiftless.presets",
    "shiftless.taps.names",
}  # fmt: skip
HEADS = {"shiftless.amalgamate", "shiftless.tasks"}  # trained from saved features on a laptop: they know no model
HEADS_NEVER = {
    "shiftless.conditions", "shiftless.backbones", "shiftless.reading", "shiftless.store", "shiftless.auditing",
}  # fmt: skip
TRAINING = {"shiftless.training", "shiftless.tuning", "miniworld.training"}  # what reads imports none of these
READING = {"shiftless.conditions", "shiftless.backbones", "shiftless.reading", "shiftless.auditing", "shiftless.tasks",
           "shiftless.segmenting", "shiftless.searching"}  # fmt: skip
MODEL_LIBRARIES = {"diffusers", "transformers", "peft"}
MODEL_ROOMS = {"shiftless.conditions", "shiftless.backbones", "shiftless.training", "miniworld.training",
               "miniworld.oracle", "miniworld.gan"}  # fmt: skip
MODEL_FILES = {  # take transformers' UPerNet and Mask2Former: layers on features, which know no backbone
    "shiftless.tasks.upernet", "shiftless.tasks.mask2former",
}  # fmt: skip
NEVER = {"torchvision", "timm"}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


def room_of(module: str) -> str:
    parts = module.split(".")
    names = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    result = next((name for name in names if name in ROWS), "")
    if len(parts) > 1 and result in PACKAGES:  # the package itself is no room for what has none
        result = ""
    assert result, f"{module} stands in no row; give it one in {__file__}"
    return result


def imports_of(source: str, module: str, is_package: bool) -> set[str]:
    """Every module that the source imports, at its head, inside functions or for types, by its full name."""
    result: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            result |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = module.split(".")
                above = here[: len(here) - node.level + is_package]
                base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                result.add(full if full in MODULES else base)
    return result


def complaints(source: str, module: str, is_package: bool = False) -> list[str]:
    room, out = room_of(module), []
    for name in sorted(imports_of(source, module, is_package)):
        top = name.split(".")[0]
        if top in PACKAGES:
            other = room_of(name)
            if ROWS[other] > ROWS[room]:
                out.append(f"imports {name}, which stands below it")
            if room in HEADS and other in HEADS_NEVER:
                out.append(f"imports {name}; heads know features only")
            if room in READING and other in TRAINING:
                out.append(f"imports {name}; what reads does not import what trains")
        elif top in NEVER or (top in MODEL_LIBRARIES and room not in MODEL_ROOMS and module not in MODEL_FILES):
            out.append(f"imports {name}, which has no place there")
        elif room in STANDARD_LIBRARY_ONLY and top not in {*sys.stdlib_module_names, "tomli"}:
            out.append(f"imports {name}; this room takes the standard library only")
    return out


@pytest.mark.parametrize("room", ORDER)
def test_every_row_is_a_room_that_exists(room):
    assert any(module == room or module.startswith(f"{room}.") for module in MODULES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_imports_only_what_stands_above_it(path):
    assert complaints(path.read_text(encoding="utf-8"), module_of(path), path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("source", "module", "message"),
    [
        ("from shiftless.backbones.base import Spec", "shiftless.features", "stands below"),
        ("def f():\n    import shiftless.cli", "miniworld.commands.demo", None),
        ("def f():\n    import shiftless.backbones.base", "shiftless.image", "stands below"),
        ("from shiftless import features", "shiftless.recipe", "stands below"),
        ("from shiftless import load", "shiftless.view.page", "stands below"),
        ("from shiftless import load", "miniworld.demo.story", None),
        ("from miniworld import datasets", "shiftless.cli.bench", "stands below"),
        ("from miniworld.tables import sweep", "miniworld.world.picture", "stands below"),
        ("from shiftless.view import sheet", "shiftless.bench.pairs", "stands below"),
        ("from . import hooks", "shiftless.taps.names", "stands below"),
        ("from ..recipe import Recipe", "shiftless.taps.hooks", None),
        ("from .names import Tap", "shiftless.taps.hooks", None),
        ("from shiftless.backbones.base import Spec", "shiftless.tasks.correspondence", "heads know features only"),
        ("from shiftless.features import FeatureMaps", "shiftless.tasks.correspondence", None),
        ("from shiftless.training.head import fit", "shiftless.tasks.head", "does not import what trains"),
        ("import diffusers", "shiftless.features", "has no place"),
        ("from transformers.models import upernet", "shiftless.bench.spair", "has no place"),
        ("from transformers.models import upernet", "shiftless.tasks.scenehead", "has no place"),
        ("from transformers.models import upernet", "shiftless.tasks.upernet", None),
        ("from diffusers import AutoencoderKL", "shiftless.backbones.sd", None),
        ("import torchvision", "shiftless.backbones.sd", "has no place"),
        ("import torch", "shiftless.recipe", "standard library only"),
        ("import torch", "shiftless.image", None),
        ("from shiftless.backbones import base", "shiftless.conditions.prompt", "stands below"),
    ],
)
def test_the_check_itself_sees_what_it_should(source, module, message):
    result = complaints(source, module)
    assert (message is None and not result) or (message is not None and any(message in line for line in result))


def test_the_design_page_lists_the_rooms_in_this_order():
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([\w.]+)` \|", page, re.MULTILINE) == list(ORDER)


def test_files_stay_small():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {path.name: n for path, n in lengths.items() if n > 400} == {}
    assert statistics.median(lengths.values()) <= 200


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(completed.stdout.split())


def test_importing_shiftless_loads_nothing_heavy():
    heavy = {"torch", "diffusers", "transformers", "peft", "cv2", "matplotlib", "PIL"}
    assert loaded_after("import shiftless") & heavy == set()
    assert "torch" in loaded_after("import shiftless.noise")  # the check sees what is loaded
