"""What a command answers: tables and lines on stdout, files of JSON, and notes on stderr."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from shiftless import progress

if TYPE_CHECKING:
    from shiftless.backbones.base import Backbone


def say(line: str) -> None:
    """Print a line about the results to stdout, such as where they were written; nothing with -q."""
    if progress.verbosity() != progress.QUIET:
        typer.echo(line)


def show(table: Any, width: int = 140) -> None:
    """Print a table to stdout: as wide as the terminal, or `width` columns where there is none."""
    from rich.console import Console

    Console(width=None if Console().is_terminal else width).print(table)


def write_json(path: Path | None, values: Any) -> None:
    """Write plain values as JSON, whole or not at all, and say so; nothing without a path."""
    from shiftless.atomic import write_atomic

    if path is not None:
        write_atomic(path, (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode())
        say(f"written: {path}")


def note_what_it_is_for(model: Backbone) -> None:
    """Note in one line on stderr if the user's own photos are not what a model was trained on."""
    from shiftless.backbones.registry import not_for_photographs

    if line := not_for_photographs(model):
        progress.notice(f"note: {line}")
