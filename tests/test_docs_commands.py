"""Every command line in the documents is one that the program takes: commands, flags and the number of values."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from shiftless.cli import app, load_commands

ROOT = Path(__file__).parents[1]
Refused = typer.BadParameter.__mro__[2]  # what every complaint about a command line is, in the click that typer brings
DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))]


def command_lines(text: str) -> list[str]:
    """The lines of code blocks, and the code in sentences, that call the program."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    rest = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines += [" ".join(code.split()) for code in re.findall(r"`(shiftless [^`]+)`", rest)]
    return [line for line in lines if line.startswith("shiftless ") and re.match(r"shiftless [a-z][a-z-]*(\s|$)", line)]


@cache
def program() -> Any:
    load_commands()
    return get_command(app)


def parse(line: str) -> None:
    """Parse a command line without running it; raises what the program would complain of."""
    words = shlex.split(line, comments=True)[1:]
    for stop in ("|", ">", "&&", ";"):
        words = words[: words.index(stop)] if stop in words else words
    command, context = program(), program().context_class(program(), info_name="shiftless")
    while words and hasattr(command, "commands"):
        found = command.get_command(context, words[0])
        if found is None:
            raise typer.BadParameter(f"no command {words[0]!r}")
        command, words = found, words[1:]
        context = command.context_class(command, info_name=command.name, parent=context)
    if not hasattr(command, "commands"):
        command.make_parser(context).parse_args(list(words))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_its_command_lines_are_taken(document):
    for line in command_lines((ROOT / document).read_text(encoding="utf-8")):
        try:
            parse(line)
        except (Refused, ValueError) as error:
            pytest.fail(f"{document}: {line!r}: {getattr(error, 'message', error)}")


def test_lines_are_found_and_wrong_ones_are_refused():
    found = command_lines("Run `shiftless match A B --at 1,2` or\n```\nshiftless taps mini  # a list\nls\n```\n")
    assert found == ["shiftless taps mini  # a list", "shiftless match A B --at 1,2"]
    parse(found[0])
    for wrong in ("shiftless tabs mini", "shiftless match A B --att 1,2", "shiftless mini trane"):
        with pytest.raises(Refused):
            parse(wrong)
