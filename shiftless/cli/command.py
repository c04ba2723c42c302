"""How a command is registered: its examples stand below its --help, and it takes -v and -q."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from shiftless import progress
from shiftless.errors import BadInput

Function = Callable[..., Any]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Also what is loaded, on which device, and the libraries' own log.",
        rich_help_panel="How much is printed",
    ),
]  # fmt: skip
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Results only: no progress, no notes.", rich_help_panel="How much is printed"),
]
_TALKATIVE = ("torchao", "bitsandbytes", "torch.utils._pytree", "diffusers.quantizers.torchao.torchao_quantizer")
"""What logs to stderr when diffusers imports it, whether or not it is used: the packages that quantise."""


def command(
    group: typer.Typer, name: str | None = None, *, examples: Sequence[str], panel: str | None = None
) -> Callable[[Function], Function]:
    """Register a function as a command of a group; use it above `takes_recipe`.

    name      the function's own by default
    examples  command lines that work, each beginning with "shiftless"; --help shows them below the options
    panel     the heading under which the group's --help lists it
    """

    def register(function: Function) -> Function:
        signature = inspect.signature(function, eval_str=True)
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()]
        kinds = {"verbose": Verbose, "quiet": Quiet}
        extra = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
            for key, kind in kinds.items()
        ]

        @functools.wraps(function)
        def run(**given: Any) -> Any:
            set_verbosity(given.pop("verbose"), given.pop("quiet"))
            return function(**given)

        run.__signature__ = inspect.Signature([*own, *extra])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in [*own, *extra]}
        shown = "\n\n".join(["Examples:", *(line.replace("[", r"\[") for line in examples)])
        group.command(name, epilog=shown, rich_help_panel=panel)(run)
        return function

    return register


def set_verbosity(verbose: bool, quiet: bool) -> None:
    """Do what -v and -q say; neither leaves what was said before the command's name."""
    if verbose and quiet:
        raise BadInput("--verbose with --quiet: give one of them")
    for name in _TALKATIVE if not verbose else ():
        logging.getLogger(name).setLevel(logging.ERROR)
    if verbose:
        progress.set_verbosity(progress.VERBOSE)
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    elif quiet:
        progress.set_verbosity(progress.QUIET)
