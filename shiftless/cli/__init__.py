"""The command line: typer here, the work elsewhere; torch is imported only by the commands that need it."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from typing import Annotated

import typer
from typer.models import CommandInfo, TyperInfo

from shiftless import plugins, progress
from shiftless.backbones.memory import own_process
from shiftless.cli.command import Quiet, Verbose, set_verbosity
from shiftless.errors import BadInput

app = typer.Typer(
    name="shiftless",
    help="Diffusion features without the content shift.\n\n"
    "Read dense features from Stable Diffusion, SDXL, Flux and other diffusion models, and from DINO and other vision "
    "models; match points between photos, and see what the noise made the model invent. Start with: shiftless demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


PANELS = ("Start here", "Read photos", "Look around", "Measure", "Steer")  # the order in which --help shows them

_STOPPED = 130  # the exit code after Ctrl-C: 128 + SIGINT


def load_commands() -> None:
    """Add every command to the app: the library's own, then those of other packages (see `shiftless.plugins`)."""
    for room in (
        "read", "explore", "audit", "caption", "show", "bench", "lora", "correspond", "segment", "segment_photos",
        "segment_words", "segment_train", "segment_distil", "bench_parts", "bench_scenes", "fetch", "convert", "store",
        "search",
    ):  # fmt: skip
        import_module(f"shiftless.cli.{room}")
    for name in plugins.names(plugins.COMMANDS):
        try:
            register = plugins.find(plugins.COMMANDS, name)
            assert register is not None
            register()
        except ImportError as error:
            say_error(f"the commands of {name} are left out, as they cannot be imported ({error}); reinstall {name}")
    app.registered_commands.sort(key=_panel)
    app.registered_groups.sort(key=_panel)


def _panel(command: CommandInfo | TyperInfo) -> int:
    panel = command.rich_help_panel
    return PANELS.index(panel) if isinstance(panel, str) and panel in PANELS else len(PANELS)


def _version(requested: bool) -> None:
    """Print the versions that a report of a fault needs, and leave."""
    if not requested:
        return
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from shiftless import __version__

    parts = [f"Python {platform.python_version()}"]
    for name in ("torch", "diffusers", "transformers", "peft"):
        try:
            parts.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            parts.append(f"no {name}")
    typer.echo(f"shiftless {__version__} ({', '.join(parts)})")
    raise typer.Exit


@app.callback()
def _every_command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True)
    ] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    set_verbosity(verbose, quiet)


def main() -> None:
    """Run the command line; bad input is one line and exit code 2."""
    progress.set_verbosity(progress.NORMAL)
    try:
        own_process()
        load_commands()
        warnings.showwarning = _show_warning
        app()
    except BadInput as error:
        say_error(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        _say_stopped()
        sys.exit(_STOPPED)
    except SystemExit as end:
        if end.code == _STOPPED:  # typer leaves with this code, and without a word, where a command is interrupted
            _say_stopped()
        raise
    except BrokenPipeError:  # the reader of a pipe went away, which is its right
        sys.stderr.close()
        sys.exit(1)


def _say_stopped() -> None:
    say_error("stopped; what was written is whole, and the same command continues where it can")


def _show_warning(message: Warning | str, category: type[Warning], *place: object, **more: object) -> None:
    """Print a warning as one plain line to stderr; where in the code it arose says nothing to a user."""
    typer.echo(f"warning: {' '.join(str(message).split())}", err=True)


def say_error(message: str) -> None:
    """Print one plain line to stderr."""
    typer.echo(typer.style("error: ", fg="red", bold=True, reset=True) + " ".join(message.split("\n")), err=True)
