"""`shiftless fetch`: the one command that uses the network."""

from __future__ import annotations

from typing import Annotated

import typer

from shiftless.cli import app
from shiftless.cli.answer import say
from shiftless.cli.command import command


@command(
    app,
    panel="Look around",
    examples=(
        "shiftless fetch sd15",
        "shiftless fetch lllyasviel/sd-controlnet-canny blip",
        "shiftless fetch someone/their-model --also 'loras/*.safetensors'",
    ),
)
def fetch(
    names: Annotated[
        list[str], typer.Argument(help="Models as `shiftless models` lists them, captioners, or hub ids.")
    ],
    also: Annotated[
        list[str] | None, typer.Option("--also", help="Files to fetch besides, as a glob; repeat for more.")
    ] = None,
) -> None:
    """Fetch models from the hub: exactly the files that are read, which then lie in the hub's cache.

    What is there already is not fetched again; an interrupted fetch goes on where it stopped. Everything else that
    shiftless does works without a network.
    """
    from shiftless.backbones.registry import how_to_fetch, models, repositories_of
    from shiftless.conditions.caption import CAPTIONERS
    from shiftless.conditions.fetch import fetch as fetch_repository
    from shiftless.errors import BadInput
    from shiftless.mini import embedded
    from shiftless.progress import notice
    from shiftless.store.size import in_bytes

    for name in names:
        if name in embedded():
            raise BadInput(f"{name}: comes with the package; there is nothing to fetch")
        row = models().get(name)
        if row is not None and not row["hub"]:
            made = (
                f"make a folder of its checkpoint with: {how_to_fetch(name)}" if "checkpoint" in row else row["about"]
            )
            raise BadInput(f"{name}: no repository of the hub holds it in a form that is read; {made}")
        for hub_id, only in repositories_of(CAPTIONERS.get(name, name)).items():

            def report(files: int, size: int, of: str = hub_id) -> None:
                notice(f"fetching {of}: {files} files, {in_bytes(size)}")

            folder = fetch_repository(hub_id, only=only, more=also or (), report=report)
            say(f"{name}: {folder}")
        if row is not None and (controls := row.get("controls")):
            say(f"its ControlNets, if you want them: shiftless fetch {' '.join(dict.fromkeys(controls.values()))}")
