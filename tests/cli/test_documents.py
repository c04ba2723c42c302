"""The code blocks of the documents run as they stand: large models are their tiny twins, and work is made short."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import shiftless.presets
from shiftless.backbones.registry import load
from shiftless.bench.parts import without_model
from shiftless.data.pairs import read_pairs
from shiftless.recipe import Recipe
from shiftless.training import segformer
from tests.data.scenelayouts import ade20k, cityscapes, own
from tests.training.coloured import TINY

ROOT = Path(__file__).parents[2]
DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))]
TWINS = {"lsun-horse": "twin:adm-lsun-horse"}  # a model of the user's own; others are twins of their own names

NOT_RUN = {  # how a line begins -> why it is not run here
    "pip install": "installs packages: CI installs the package and its extras before the tests",
    "python -m venv": "the same",
    "make ": "CI runs `make test`, and the others are what it is made of",
    "shiftless demo": "takes minutes: tests/miniworld/demo runs its parts",
    "shiftless mini train": "takes hours: tests/miniworld/training runs each stage for some steps",
    "shiftless mini prove": "reads what those have trained",
    "cp -r out/mini": "the same",
    "shiftless mini draw --look": "draws for them",
    "shiftless lora train out/": "the same",
    "shiftless segment test drawn": "fits on twenty pictures: another line tests a head beside what needs no model",
    "shiftless bench mini-": "takes minutes: tests/miniworld/tables runs each with few pictures",
    "shiftless extract photos/ --model sd15 --out features.zarr --engine": "starts processes: tests/engines does",
    "accelerate launch": "starts processes: tests/training does",
}
DRAWINGS = {"docs/design.md": "image -> conditions", "docs/segmentation.md": "labelled/images/a.jpg"}  # no code
PYTHON = {  # whose Python is run by which tests
    "README.md": "tests/test_readme.py",
    "docs/index.md": "tests/test_readme.py",
    "docs/techniques.md": "tests/test_readme.py",
    "docs/pairs.md": "tests/test_readme.py",
    "docs/segmentation.md": "tests/test_readme.py",
    "docs/gate.md": "tests/cli/test_gate.py",
    "docs/features.md": "tests/store/test_document.py, and below",
}
SHORT = {  # what a command gets on top
    "audit": "--draws 1 --finish 0 --pictures 1",
    "bench ade20k": "--steps 1 --size 32 --head linear",
    "bench cityscapes": "--steps 1 --size 32 --head linear",
    "bench scenes": "--steps 1 --size 32",
    "caption": "--captioner mini",
    "correspond fit": "--pairs 2 --val-pairs 1 --steps 1 --side 8",
    "correspond test": "--pairs 2",
    "lora train": "--steps 1 --checks 1 --batch 1 --rank 2",
    "segment distill": "--number 3 --picture-size 64 --sampling-steps 1 --steps 1 --views 2 --network tiny",
    "segment fit": "--members 1 --pixels 64 --hidden 4",
    "segment train": "--steps 1 --every 1 --views 2 --size 64 --width 64 --hidden 4",
    "segment train labelled/ --recipe odise": "--queries 4 --layers 1",
}
TINY_MODEL = {  # what twins do not have the width or the depth for
    "--taps single9.in": "--taps single0.in",
    "--discard 154,1446": "--discard 1,2",
    "--size 640": "--size 64",
}


def blocks_of(document: str) -> list[tuple[str, str]]:
    """The language and the text of each code block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def scripts_of(document: str) -> list[str]:
    """The lines of its shell blocks, where those between two commands of the program are one script."""
    lines = [
        line
        for language, text in blocks_of(document)
        if language in ("", "sh") and not text.startswith(DRAWINGS.get(document, "\0"))
        for line in (*text.replace("\\\n", " ").splitlines(), "")
    ]
    scripts: list[str] = []
    for line in lines:
        if line.startswith(("shiftless ", *NOT_RUN)) or not scripts or not line or scripts[-1].startswith("shiftless "):
            scripts.append(line)
        else:
            scripts[-1] += f"\n{line}"
    return [script for script in scripts if script and not script.startswith(tuple(NOT_RUN))]


def noise(path: Path, seed: int, size: tuple[int, int] = (80, 60)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size).save(path)


def two_photos(folder: Path) -> None:
    """a.jpg and b.jpg, and a folder of two photos."""
    for seed, name in enumerate(("a.jpg", "b.jpg", "photos/0.png", "photos/1.png")):
        noise(folder / name, seed, (160, 120))


def training_split(folder: Path) -> None:
    """What of SPair-71k's training split the page reads: its list of pairs, here of 60 photos, and the photos."""
    names = [f"2008_{i:06}" for i in range(60)]
    for i, name in enumerate(names):
        noise(folder / f"SPair-71k/JPEGImages/cat/{name}.jpg", i)
    listed = folder / "SPair-71k/Layout/large/trn.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("".join(f"{i:06}-{a}-{b}:cat\n" for i, (a, b) in enumerate(zip(names[::2], names[1::2]))))


def columns(folder: Path) -> None:
    """Photos, and a recipe file for each of three columns."""
    two_photos(folder)
    recipes(folder, "plain.toml", "captions.toml", "edges.toml")


def recipes(folder: Path, *names: str) -> None:
    """Recipe files of the user's own."""
    for seed, name in enumerate(names):
        (folder / name).write_text(Recipe(timestep=20, taps=("up1",), size=64, seed=seed).to_toml())


def stores(folder: Path) -> None:
    """A store, its two halves, and a photo whose parts are sought."""
    two_photos(folder)
    noise(folder / "query.jpg", 9, (160, 120))
    halves = {"features": "01", "part-0": "0", "part-1": "1"}
    for name, numbers in halves.items():
        photos = " ".join(f"photos/{number}.png" for number in numbers)
        run = f"extract {photos} --model sd15 --size 64 --out {name}.zarr"
        folder.joinpath("before.txt").open("a").write(f"shiftless {run}\n")


def pairs(folder: Path) -> None:
    """Annotated pairs in the page's own layout, as FOLDER and as DIR, and recipes."""
    two_photos(folder)
    recipes(folder, "gate.toml", "gate-control.toml")
    points = [[10, 10], [40, 30], [70, 50]]
    images = {str(i): {"file": f"{i}.png", "width": 80, "height": 60, "keypoints": points} for i in range(12)}
    about = {"images": images, "pairs": [[str(i), str(i + 1)] for i in range(0, 12, 2)]}
    for place in ("FOLDER", "DIR"):
        for i in range(12):
            noise(folder / place / f"{i}.png", i)
        (folder / place / "annotations.json").write_text(json.dumps(about))


def scenes(folder: Path) -> None:
    """Labelled photos of the user's own, and copies of the published sets; LoRAs; CLIPs."""
    two_photos(folder)
    for name in ("labelled", "horses"):
        own(folder / name, {"train": (0, 1, 2), "val": (3,), "test": (4,)})
    ade20k(folder)
    cityscapes(folder / "cityscapes")
    for task in ("horse21", "ade20k", "cityscapes"):
        for one in "ab":
            shutil.copy(
                ROOT / "tests/goldens/tiny-lora/kohya_lora.safetensors", folder / f"gate-{task}-{one}.safetensors"
            )


def words(folder: Path) -> None:
    two_photos(folder)
    save_file({"<cat-toy>": torch.ones(1, 32)}, folder / "cat-toy.safetensors")


PREPARED: dict[str, Callable[[Path], object]] = {
    "README.md": two_photos,
    "docs/index.md": two_photos,
    "docs/explorer.md": lambda folder: (
        two_photos(folder),
        recipes(folder, "plain.toml", "captions.toml", "edges.toml"),
    ),
    "docs/features.md": stores,
    "docs/pairs.md": pairs,
    "docs/reproduce.md": training_split,
    "docs/segmentation.md": scenes,
    "docs/techniques.md": words,
}


@pytest.fixture
def shrunk(monkeypatch, tmp_path, clip):
    """Twins in the place of models, presets that read 64 pixels by short walks, a small CLIP, and no network."""
    _loaded: dict[str, object] = {}

    def twin(name, **options):
        name = TWINS.get(name, name if ":" in name or name == "mini" or Path(name).is_dir() else f"twin:{name}")
        if options.get("offload") or options.get("quantise"):
            return load(name, **options)
        key = f"{name} {options.get('dtype')} {options.get('size')}"
        return _loaded.setdefault(key, load(name, **options))

    def small(recipe: Recipe) -> Recipe:
        flux = {"taps": ("single0.in",), "discard": (1, 2)} if recipe.discard else {}
        start = recipe.timestep + 2 if recipe.start else recipe.start
        return recipe.but(size=64, start=start, ensemble=1, **flux)

    monkeypatch.setattr("shiftless.backbones.registry.load", twin)
    rows = {
        name: replace(row, recipes=tuple(map(small, row.recipes))) for name, row in shiftless.presets.presets().items()
    }
    monkeypatch.setattr(shiftless.presets, "_PRESETS", rows)
    monkeypatch.setattr(segformer, "ARCHITECTURES", {**segformer.ARCHITECTURES, "tiny": TINY})
    monkeypatch.setattr("shiftless.bench.parts.without_model", partial(without_model, members=1, hidden=4))
    monkeypatch.setattr("shiftless.conditions.fetch.fetch", lambda name, **_: f"cache/{name}")
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None, raising=False)
    for name in ("clip-vit-base-patch16", "clip-vit-large-patch14-336"):
        shutil.copytree(clip, tmp_path / name)


def is_small(words: list[str]) -> str:
    """What a command gets on top, by the words that it begins with."""
    line = " ".join(words)
    return " ".join(extra for begin, extra in SHORT.items() if line.startswith(begin))


@pytest.mark.parametrize("document", PREPARED)
def test_its_commands_run(command, shrunk, tmp_path, document):
    if document in ("docs/features.md", "docs/segmentation.md", "docs/explorer.md", "docs/index.md"):
        pytest.importorskip("zarr", reason='needs the extra "store"')
        pytest.importorskip("uvicorn", reason='needs the extra "app"')
        pytest.importorskip("pycocotools", reason='needs the extra "segment"')
    PREPARED[document](tmp_path)
    before = tmp_path / "before.txt"
    scripts = [*(before.read_text().splitlines() if before.exists() else []), *scripts_of(document)]
    assert scripts
    for script in scripts:
        if not script.startswith("shiftless "):
            subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, check=True)
            continue
        for large, tiny in TINY_MODEL.items():
            script = script.replace(large, tiny)
        given = shlex.split(script, comments=True)[1:]
        given, target = (given[: given.index(">")], given[-1]) if ">" in given else (given, "")
        if given[:2] in (["segment", "train"], ["segment", "distill"]):
            shutil.rmtree(tmp_path / "net", ignore_errors=True)
            shutil.rmtree(tmp_path / "net.run", ignore_errors=True)
        code, out, err = command(*given, *shlex.split(is_small(given)))
        assert code == 0, f"{script}\n{err}"
        if target:
            (tmp_path / target).write_text(out, encoding="utf-8")


def test_the_python_on_stores_videos_and_loaders_runs(command, shrunk, tmp_path, capsys):
    """docs/features.md, but for its first blocks, which tests/store/test_document.py runs."""
    pytest.importorskip("zarr", reason='needs the extra "store"')
    two_photos(tmp_path)
    noise(tmp_path / "photos/a.jpg", 5, (160, 120))
    noise(tmp_path / "query.jpg", 9, (160, 120))
    for out in ("features.zarr", "features"):
        code, _, err = command("extract", "photos", "--model", "sd15", "--size", 64, "--taps", "up1", "--out", out)
        assert code == 0, err
    names: dict[str, object] = {
        "shiftless": shiftless, "torch": torch, "model": shiftless.load("twin:sd15"),
        "recipe": Recipe(timestep=20, taps=("up1",), size=64), "propagate_mask": shiftless.tasks.propagate_mask,
        "frames_of": lambda clip: [np.full((48, 64, 3), 40 * i, np.uint8) for i in range(3)],
        "first_mask": np.eye(48, 64, dtype=np.uint8),
    }  # fmt: skip
    blocks = [text for language, text in blocks_of("docs/features.md") if language == "python"][3:]
    assert len(blocks) == 4
    for block in blocks:
        exec(block, names)
    assert names["mask"].shape == (48, 64)
    assert names["hit"].photo.startswith("photos/")
    assert "torch.Size([3, 64," in capsys.readouterr().out  # the batch of all photos


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_is_run(document):
    for language, text in blocks_of(document):
        assert language in ("", "sh", "python", "json"), f"{language}: nothing runs it"
        if language == "python":
            assert document in PYTHON
        elif language == "json":
            assert document == "docs/pairs.md"
        elif not text.startswith(DRAWINGS.get(document, "\0")):
            own_test = document == "docs/gate.md"  # tests/cli/test_gate.py
            rest = [line for line in text.splitlines() if line.strip() and not line.startswith(tuple(NOT_RUN))]
            assert not rest or own_test or document in PREPARED, rest


def test_the_annotations_of_the_page_are_read(tmp_path):
    (text,) = (text for language, text in blocks_of("docs/pairs.md") if language == "json")
    for name, size in (("tom", (640, 480)), ("kit", (800, 600))):
        noise(tmp_path / f"images/{name}.jpg", 0, size)
    (tmp_path / "annotations.json").write_text(text)
    (pair,) = read_pairs(tmp_path)
    assert (pair.source.name, pair.target.name) == ("tom.jpg", "kit.jpg")
    assert pair.source_points.tolist() == [[212.5, 140.5], [260.5, 138.5]]
    assert pair.target_points.tolist() == [[420.5, 200.5], [470.5, 210.5]]  # the third one is not seen in both
