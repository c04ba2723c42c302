"""The demo from beginning to end: read features, draw pictures, report progress, write the page."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miniworld.demo.audited import audited
from miniworld.demo.chapters import Plan, features, matches, meet, table
from miniworld.demo.content_shift import content_shift
from miniworld.demo.labelled import parts
from miniworld.demo.method import comparison, steering, takes_comparison, takes_steering
from miniworld.demo.subjects import cast, yours
from shiftless.backbones.registry import load, not_for_photographs
from shiftless.bench.table import machine
from shiftless.errors import BadInput
from shiftless.presets import default_recipe
from shiftless.progress import QUIET, Progress, count, notice, verbosity
from shiftless.recipe import Recipe
from shiftless.view.page import Chapter, write_page

if TYPE_CHECKING:
    from rich.console import Console

    from shiftless.features import FeatureMaps


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

    screen = console or Console(quiet=verbosity() == QUIET)
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
    steps = _steps(plan)
    chapters: list[Chapter] = []
    with Progress(f"the demo, {count(len(steps), 'step')}", sum(step.share for step in steps), "") as progress:
        for step in steps:
            progress.advance(0, step.doing)
            began = time.perf_counter()
            chapter = step.work()
            chapters.append(chapter)
            progress.advance(step.share)
            took = f"[dim]{time.perf_counter() - began:.0f} s[/dim]"
            screen.print(f"[bold cyan]{len(chapters)}/{len(steps)}[/bold cyan] {chapter.title}  {took}")
            screen.print(f"    look at: {chapter.look}", highlight=False)
            if where := ", ".join(str(out / figure.file) for figure in chapter.figures):
                screen.print(f"    [dim]{where}[/dim]", highlight=False, soft_wrap=True)
    chapters.append(_next(plan))
    seconds = time.perf_counter() - start
    foot = f"Made by shiftless demo with the model {backbone.spec.name} in {seconds:.0f} s on {machine()}."
    lead = "Diffusion features match parts across pictures, but also describe what the model filled in under noise."
    page = write_page(out, "What a diffusion model sees, and what it fills in", lead, chapters, foot)
    screen.print(f"[bold green]done[/bold green] in {seconds:.0f} s. Open [bold]{page}[/bold]", soft_wrap=True)
    return page


@dataclass(frozen=True)
class _Step:
    """A chapter to make: about how much of the demo's time it takes, what it does, and how it is made."""

    share: float
    doing: str
    work: Callable[[], Chapter]


def _steps(plan: Plan) -> list[_Step]:
    """Return the chapters that this model and these photos allow, in order."""
    maps: list[FeatureMaps] = []

    def read() -> Chapter:
        chapter, read_maps = features(plan)
        maps.extend(read_maps)
        return chapter

    steps = [
        _Step(1, "drawing", lambda: meet(plan)),
        _Step(1, "reading features", read),
        _Step(5, "matching", lambda: matches(plan, maps)),
        _Step(30, "making content shift visible", lambda: content_shift(plan)),
        _Step(25, "steering", lambda: steering(plan)),
        _Step(35, "auditing", lambda: audited(plan)),
        _Step(5, "scoring pairs", lambda: table(plan)),
        _Step(15, "learning parts from labels", lambda: parts(plan)),
        _Step(35, "scoring methods", lambda: comparison(plan)),
    ]
    left_out = {
        "steering": not takes_steering(plan),
        "learning parts from labels": not plan.drawn,
        "scoring methods": not takes_comparison(plan),
    }
    return [step for step in steps if not left_out.get(step.doing)]


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
        (
            "shiftless segment fit LABELLED --out head.safetensors",
            "Parts of your photos, from twenty labelled ones.",
        ),
        ("shiftless taps mini", "Every place inside the model that can be read."),
        ("shiftless extract photos/ --model sd15", "Features of your photos with Stable Diffusion, once you have it."),
    ]
    text = ["Each part of this page is one call, from the command line or from Python."]
    return Chapter("What to do next", text, "", commands=commands)
