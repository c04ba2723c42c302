"""Curves: a score over the timestep, a curve for each way of reading, with its interval as a band."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from shiftless.atomic import check_writable, write_atomic
from shiftless.errors import BadInput
from shiftless.view.sheet import Colour, theme_named

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", None)  # safe for colour-blind readers
_STYLES = ("-", "--", ":")
_KINDS = ("png", "pdf", "svg")
_DPI = 150
_LEGEND = 30  # letters a line
Point = tuple[float, float, float]  # value, low, high
Curve = Mapping[int, Point]  # timestep -> point


def draw_curves(path: str | os.PathLike[str], curves: Mapping[str, Curve], **options: Any) -> Path:
    """Draw curves as PNG, PDF or SVG; arguments as in `curves_picture`.

    Raises BadInput without matplotlib, and for a path that cannot be written or is of another kind.
    """
    return write_atomic(path, _drawn(_kind(path), curves, **options))


def check_drawing(path: str | os.PathLike[str]) -> None:
    """Raise BadInput where `draw_curves` would: without matplotlib, for another kind of file or an unwritable path.

    >>> check_drawing("curves.jpg")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: curves.jpg: draw to a .png, .pdf, .svg file
    """
    _kind(path)
    figure_class()
    check_writable(Path(path))


def curves_picture(curves: Mapping[str, Curve], **options: Any) -> Image.Image:
    """Draw curves as a picture.

    curves  name -> timestep -> (value, low, high); a curve may leave timesteps out
    title, metric  above everything, and along the axis of values
    floor   a level to beat, dashed: the trivial baseline
    best    (timestep, name) of the point to mark
    theme   "light" or "dark"

    Raises BadInput without matplotlib, and for an unknown theme.

    >>> curves = {"bare": {50: (0.2, 0.1, 0.3), 300: (0.5, 0.4, 0.6)}}
    >>> curves_picture(curves, title="on 8 photos", metric="shift").width
    1260
    """
    return Image.open(BytesIO(_drawn("png", curves, **options)), formats=("PNG",)).convert("RGB")


def _drawn(
    kind: str,
    curves: Mapping[str, Curve],
    *,
    title: str,
    metric: str,
    floor: float | None = None,
    best: tuple[int, str] | None = None,
    theme: str = "light",
) -> bytes:
    look = theme_named(theme)
    paper, ink, muted = (_hex(colour) for colour in (look.paper, look.ink, look.muted))
    figure = figure_class()(figsize=(8.4, 4.6), dpi=_DPI, layout="constrained", facecolor=paper)
    axes = figure.subplots()
    axes.set_facecolor(paper)
    for place, (name, curve) in enumerate(curves.items()):
        colour, style = _COLOURS[place % len(_COLOURS)] or ink, _STYLES[place // len(_COLOURS) % len(_STYLES)]
        at = sorted(curve)
        value, low, high = zip(*(curve[t] for t in at))
        label = textwrap.fill(_plain(name), _LEGEND)
        axes.plot(at, value, style, marker="o", ms=3.5, lw=1.8, color=colour, label=label)
        if len(at) > 1:
            axes.fill_between(at, low, high, color=colour, alpha=0.1 if theme == "light" else 0.16, lw=0)
        else:
            axes.vlines(at, low, high, color=colour, lw=1.2, alpha=0.6)
    if floor is not None:
        axes.axhline(floor, color=muted, lw=1.2, ls=(0, (4, 3)), zorder=0, label="trivial: same relative position")
    if best is not None:
        step, name = best
        axes.annotate(
            f"best: t={step}, {_plain(name)}", (step, curves[name][step][0]), (0, 16), textcoords="offset points",
            ha="center", size=9, weight="bold", color=ink, arrowprops={"arrowstyle": "-", "color": muted},
        )  # fmt: skip
    timesteps = sorted({t for curve in curves.values() for t in curve})
    # By its square root the timestep is about as noisy as it looks, and 1 and 20 stay apart.
    axes.set_xscale("function", functions=(lambda t: abs(t) ** 0.5, lambda x: x**2))
    axes.set_xlim(0, max(timesteps) * 1.04 or 1)
    axes.set_xticks(timesteps, [str(t) for t in timesteps])
    axes.set_xlabel("timestep: how much noise is added before reading, of 1000", color=ink)
    axes.set_ylabel(_plain(metric), color=ink)
    top = max(high for curve in curves.values() for _, _, high in curve.values())
    axes.set_ylim(0, max(top, floor or 0) * 1.12 or 1)
    axes.grid(axis="y", alpha=0.25)
    axes.tick_params(colors=muted, labelcolor=ink)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(muted)
    axes.set_title(_plain(title), loc="left", size=11, color=ink)
    figure.legend(frameon=False, fontsize=9, loc="outside right upper", labelcolor=ink)
    content = BytesIO()
    figure.savefig(content, format=kind)
    return content.getvalue()


def _kind(path: str | os.PathLike[str]) -> str:
    kind = Path(path).suffix[1:].lower()
    if kind not in _KINDS:
        raise BadInput(f"{path}: draw to a .{', .'.join(_KINDS)} file")
    return kind


def figure_class() -> Any:
    """Return matplotlib's Figure, which needs no display; raises BadInput without matplotlib.

    >>> figure_class().__name__
    'Figure'
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise BadInput("drawing needs matplotlib; run: pip install shiftless[view]") from None
    return Figure


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # matplotlib typesets text between two dollar signs as an equation


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)
