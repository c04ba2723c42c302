"""What a newcomer asks first: --help with examples that work, --version, -v, -q, and python -m shiftless."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
import typer

from shiftless import __version__, progress
from shiftless.cli import app, load_commands
from shiftless.presets import presets

load_commands()


def leaves(node, words=()):
    """Every command with the words that call it."""
    for name, one in getattr(node, "commands", {}).items():
        yield from leaves(one, (*words, name))
    if not hasattr(node, "commands"):
        yield words, node


COMMANDS = dict(leaves(typer.main.get_command(app)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_shows_three_examples_that_its_parser_takes(words):
    shown = (COMMANDS[words].epilog or "").replace(r"\[", "[").split("\n\n")
    examples = [line for line in shown if line.startswith("shiftless ")]
    assert len(examples) >= 3
    assert len(set(examples)) == len(examples)
    for line in examples:
        _, *given = shlex.split(line)
        assert tuple(given[: len(words)]) == words
        context = COMMANDS[words].make_context(" ".join(words), given[len(words) :])  # raises for a flag unknown to it
        named = context.params.get("recipe")
        for name in [named] if isinstance(named, str) else named or []:
            assert name.endswith(".toml") or name in presets()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_can_be_quiet_or_verbose(words):
    flags = {flag for one in COMMANDS[words].params for flag in one.opts}
    assert {"-v", "-q", "--verbose", "--quiet"} <= flags


def test_the_version_is_told_with_those_it_runs_on(command):
    import torch

    code, out, err = command("--version")
    assert (code, err) == (0, "")
    assert out.startswith(f"shiftless {__version__} (Python {sys.version.split()[0]}, torch {torch.__version__}")


def test_the_package_runs_as_a_module():
    completed = subprocess.run([sys.executable, "-m", "shiftless", "--version"], capture_output=True, text=True)
    assert (completed.returncode, completed.stdout.split()[:2]) == (0, ["shiftless", __version__])


def test_quiet_prints_results_only(command, tmp_path, photo):
    loud = command("match", photo, photo, "-m", "twin:sd15", "--at", "5,5")
    quiet = command("match", photo, photo, "-m", "twin:sd15", "--at", "5,5", "-q")
    before = command("-q", "match", photo, photo, "-m", "twin:sd15", "--at", "5,5")
    assert quiet == before
    assert "match.png" in loud[1]
    assert "match.png" not in quiet[1]
    assert "cosine" in quiet[1]  # the table itself
    assert quiet[2] == ""
    assert (tmp_path / "match.png").exists()
    assert command("extract", photo, "-m", "twin:sd15", "-o", "f", "-q") == (0, "", "")


def test_verbose_says_what_is_loaded_where(command, photo):
    _, _, err = command("extract", photo, "-m", "twin:sd15", "--dtype", "fp32", "--device", "cpu", "-o", "f", "-v")
    assert "twin:sd15: sd, loaded on cpu in float32" in err
    _, _, err = command("extract", photo, "-m", "twin:sd15", "--dtype", "fp32", "-o", "g")
    assert "loaded on" not in err
    assert progress.verbosity() == progress.NORMAL
    assert command("extract", photo, "-v", "-q")[0] == 2
