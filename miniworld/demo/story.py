"""The demo from beginning to end: read features, draw pictures, report progress, write the page."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miniworld.demo.audited import audited
from miniworld.demo.chapters import Plan, features, matches, meet, table
from miniworld.demo.content_shift import content_shift
from miniworld.demo.method import comparison, steering, takes_comparison, takes_steering
from miniworld.demo.subjects import cast, yours
from shiftless.backbones.registry import load, not_for_photographs
from shiftless.bench.table import machine
from shiftless.errors import BadInput
from shiftless.presets import default_recipe
from shiftless.progress import notice
from shiftless.recipe import Recipe
from shiftless.view.page import Chapter, write_page

if TYPE_CHECKING:
    from rich.console import Console


def tell(
    out: Path,
    photos: Sequence[str] = (),
    *,
    model: Any = "mini",
    prompt: str = "",
    recipe: Recipe | None = None,
    quick: bool = False,
    console: Console | None = None,
) -> Path:
    """Write the demo into a folder and return its index.html; arguments and errors as `miniworld.demo.run`'s."""
    from rich.console import Console

    screen = console or Console()
    start = time.perf_counter()
    subjects = yours(photos, prompt) if photos else cast()  # first: refuse bad photos before loading
    _make(out)
    with screen.status("loading the model"):
        backbone = load(model) if isinstance(model, str) else model
    chosen = recipe or default_recipe(backbone.spec.name)
    if photos and (warning := not_for_photographs(backbone)):
        notice(f"note: {warning}")
    plan = Plan(out, backbone, chosen, subjects, quick)
    screen.print(f"[bold]shiftless demo[/bold]  {backbone.spec.name}, t={chosen.timestep}, {'+'.join(chosen.taps)}")
    chapters: list[Chapter] = []
    extra = [takes_steering(plan), takes_comparison(plan)]
    count = 7 + sum(extra)

    def say(chapter: Chapter, since: float) -> None:
        chapters.append(chapter)
        took = f"[dim]{time.perf_counter() - since:.0f} s[/dim]"
        screen.print(f"[bold cyan]{len(chapters)}/{count}[/bold cyan] {chapter.title}  {took}")
        where = ", ".join(str(out / figure.file) for figure in chapter.figures)
        screen.print(f"    look at: {chapter.look}", highlight=False)
        if where:
            screen.print(f"    [dim]{where}[/dim]", highlight=False, soft_wrap=True)

    def working(work: Callable[[], Any], on: str, live: bool = True) -> Any:
        if not live:
            return work()
        with screen.status(on):
            return work()

    now = time.perf_counter()
    say(working(lambda: meet(plan), "drawing"), now)
    now = time.perf_counter()
    features_chapter, maps = working(lambda: features(plan), "reading features")
    say(features_chapter, now)
    now = time.perf_counter()
    say(working(lambda: matches(plan, maps), "matching"), now)
    now = time.perf_counter()
    say(working(lambda: content_shift(plan), "making content shift visible; the longest part"), now)
    if extra[0]:
        now = time.perf_counter()
        say(working(lambda: steering(plan), "steering"), now)
    now = time.perf_counter()
    say(working(lambda: audited(plan), "auditing"), now)
    now = time.perf_counter()
    say(working(lambda: table(plan), "scoring pairs", live=False), now)  # it shows its own progress
    if extra[1]:
        now = time.perf_counter()
        say(working(lambda: comparison(plan), "scoring methods", live=False), now)
    chapters.append(_next(plan))
    seconds = time.perf_counter() - start
    foot = f"Made by shiftless demo with the model {backbone.spec.name} in {seconds:.0f} s on {machine()}."
    lead = "Diffusion features match parts across pictures, but also describe what the model filled in under noise."
    page = write_page(out, "What a diffusion model sees, and what it fills in", lead, chapters, foot)
    screen.print(f"[bold green]done[/bold green] in {seconds:.0f} s. Open [bold]{page}[/bold]", soft_wrap=True)
    return page


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{out}: the folder cannot be made ({error.strerror}); choose another with --out") from None


def _next(plan: Plan) -> Chapter:
    own = f"; to try it: {plan.out / 'photos'}" if plan.drawn else ""
    commands = [
        ("shiftless demo A.jpg B.jpg --prompt 'a photo of ...'", "The same demo on two photos of yours."),
        ("shiftless match A.jpg B.jpg --at 120,80", "Where is this point in the other photo?"),
        ("shiftless audit PHOTOS --suggest mine.toml", f"Which technique keeps the content of your photos{own}."),
        ("shiftless bench mini-pairs", "The table of this page on all 360 pairs."),
        ("shiftless bench mini-pairs --sweep", "Matching scores by timestep and layer, on validation pairs."),
        ("shiftless bench mini-attention --out method.png", "Where the word horse acts, by technique."),
        ("shiftless bench mini-correspondence", "Every method and technique on two test sets."),
        ("shiftless taps mini", "Every place inside the model that can be read."),
        ("shiftless extract photos/ --model sd15", "Features of your photos with Stable Diffusion, once you have it."),
    ]
    text = ["Each part of this page is one call, from the command line or from Python."]
    return Chapter("What to do next", text, "", commands=commands)
