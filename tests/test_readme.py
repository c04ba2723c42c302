"""The README's Python runs as it stands."""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import shiftless
from miniworld.world.picture import draw

ROOT = Path(__file__).parents[1]


def python_of(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def two_horses(tmp_path, monkeypatch):
    """The current folder holds a.jpg and b.jpg, 200 x 160 pixels."""
    for name, seed in (("a", 3), ("b", 4)):
        picture = Image.fromarray(draw(seed, kind="horse").image)
        picture.resize((200, 160)).save(tmp_path / f"{name}.jpg")
    monkeypatch.chdir(tmp_path)


def test_its_python_runs_in_order(two_horses, capsys):
    """Stable Diffusion's lines, on its blocks with random weights; b.jpg is a.jpg, so a point is its own match."""
    (block,) = python_of("README.md")
    shutil.copy("a.jpg", "b.jpg")
    names: dict[str, object] = {}
    exec(block.replace('"sd15"', '"twin:sd15"'), names)
    out = capsys.readouterr().out
    assert "up1 64x8x8 stride 16" in out
    assert "torch.Size([2, 1, 64, 8, 8])" in out
    assert np.asarray(names["array"]).dtype == np.float32
    assert np.abs(np.asarray(names["found"]) - [(120, 80)]).max() <= 16  # half a cell of 200 / 8 pixels, and a little


@pytest.fixture
def quick_audit(monkeypatch):
    """Audits of one noise draw and two steps to the finished picture."""
    monkeypatch.setattr(shiftless, "audit", partial(shiftless.audit, draws=1, finish=2))


def test_the_first_lines_of_the_site_run(capsys):
    (block,) = python_of("docs/index.md")
    exec(block, {})
    assert "[[" in capsys.readouterr().out


def test_the_techniques_run_in_order(two_horses, quick_audit, capsys):
    names: dict[str, object] = {}
    for code in python_of("docs/techniques.md"):
        exec(code, names)
    assert "a photo of a " in capsys.readouterr().out  # the caption


def test_the_page_of_pairs_flips_as_it_says(two_horses, capsys):
    Image.open("a.jpg").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("b.jpg", quality=100)
    (block,) = python_of("docs/pairs.md")
    exec(block, {"shiftless": shiftless, "model": shiftless.load("twin:sd15", device="cpu", dtype="fp32")})
    assert "True" in capsys.readouterr().out


def test_the_page_of_segmentation_runs_as_it_says(capsys):
    (block,) = python_of("docs/segmentation.md")
    names: dict[str, object] = {}
    exec(block, names)
    assert "(64, 96)" in capsys.readouterr().out
    assert (names["parts"].mask == names["mask"]).mean() > 0.9  # the mask of the last photo: boxes stand in one place


def test_it_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, heading = link.partition("#")
        if link.startswith(("http:", "https:")):
            continue
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles], link


@pytest.mark.parametrize(
    ("example", "says"),
    [
        ("ten_lines.py", "Matches"),
        ("gate.py", "found in b at"),
        ("audit.py", "keeps the content best"),
        ("every_technique.py", "t=300 inpaint keep"),
        ("families.py", "taps"),
        ("fusion.py", "found in b at"),
        ("video.py", "frame 2: "),
    ],
)
def test_the_examples(quick_audit, capsys, monkeypatch, example, says):
    monkeypatch.setattr("sys.argv", [example])
    exec((ROOT / "examples" / example).read_text(encoding="utf-8"), {"__name__": "example"})
    assert says in capsys.readouterr().out


def test_every_command_that_is_named_exists():
    from typer.main import get_command

    from shiftless.cli import app, load_commands

    load_commands()
    commands = get_command(app).commands  # type: ignore[attr-defined]
    text = "\n".join((ROOT / document).read_text(encoding="utf-8") for document in DOCUMENTS)
    blocks = "\n".join(re.findall(r"```\w*\n(.*?)```", text, re.DOTALL))
    named = set(re.findall(r"^shiftless (\w[\w-]*)", blocks, re.MULTILINE))
    named |= set(re.findall(r"`shiftless ([a-z][a-z-]+)", text))
    assert len(named) >= 9
    assert named <= set(commands)
