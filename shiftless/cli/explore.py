"""`shiftless explore`: match, look, audit, search and label in a browser, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shiftless.cli import app
from shiftless.cli.answer import note_what_it_is_for, say
from shiftless.cli.command import command
from shiftless.cli.flags import (
    Captions,
    Device,
    Dtype,
    Fill,
    Offload,
    Quantise,
    RecipeModel,
    filler,
    model_for,
)
from shiftless.presets import Preset, default_recipe, preset_or_file

PHOTOS = "Pictures, or folders of them; the page adds more."
RECIPE = "A way to read, shown under its name beside the others: a preset or a TOML file; repeat for up to four."
STORE = "A store by the same model, such as features.zarr: a tab searches its photos for a part of a photo."
HOST = "Where to listen. Anything beyond this machine needs a --token."
TOKEN = "What a browser must show, in the address that is printed."


@command(
    app,
    panel="Read photos",
    examples=(
        "shiftless explore photos/",
        "shiftless explore photos/ -m sd15 --recipe dift-geometric --recipe plain.toml",
        "shiftless explore query.jpg -m sd15 --store features.zarr",
        "shiftless explore photos/ --host 0.0.0.0 --token 4f1c9ac2d0b7e6f5 --port 9000",
    ),
)
def explore(
    photos: Annotated[list[Path] | None, typer.Argument(help=PHOTOS)] = None,
    model: RecipeModel = None,
    recipe: Annotated[list[str], typer.Option("--recipe", "-r", help=RECIPE)] = [],  # noqa: B006
    store: Annotated[str | None, typer.Option(help=STORE)] = None,
    host: Annotated[str, typer.Option(help=HOST)] = "127.0.0.1",
    token: Annotated[
        str, typer.Option(help=TOKEN, envvar="SHIFTLESS_TOKEN", show_default="none", show_envvar=True)
    ] = "",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8765,
    memory: Annotated[float, typer.Option(min=0.01, help="GiB of features that are kept in memory.")] = 2.0,
    fill: Fill = None,
    captions: Captions = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: Offload = "",
    quantise: Quantise = "",
) -> None:
    """Explore photos in a browser: click a point and see where it lies in the others, look at features, label parts.

    The page comes from this machine alone, and asks no other one for anything; Ctrl-C stops it. Photos that the page
    adds stay in memory. docs/explorer.md has more. It needs: pip install "shiftless\\[app]"
    """
    from shiftless.backbones.registry import load, not_for_photographs
    from shiftless.explore.explorer import Explorer
    from shiftless.explore.limits import Limits
    from shiftless.explore.serve import bound, check_access, check_installed, serve

    check_installed()
    access = check_access(host, token)
    named = [preset_or_file(one) for one in recipe]
    name = model_for(model, named)
    opened = bound(host, port)
    try:
        backbone = load(name, device=device, dtype=dtype, offload=offload, quantise=quantise)
        note_what_it_is_for(backbone)
        usual = default_recipe(backbone.spec.name, backbone.spec.family)
        columns = named or [Preset(f"t = {usual.timestep}, {', '.join(usual.taps)}", name, (usual,), "")]
        values = filler([one for preset in columns for one in preset.recipes], fill, captions, photos or [])
        note, limits = not_for_photographs(backbone), Limits(feature_bytes=int(memory * 2**30))
        explorer = Explorer.of(backbone, photos or [], columns, fill=values, limits=limits, note=note, store=store)
        for line in explorer.album.left_out[:10]:
            say(f"left out: {line}")
        serve(explorer, access, opened, lambda where: say(f"open {where}   (Ctrl-C stops)"))
    finally:
        opened.close()
