"""Curves: a score over the timestep, one curve for each choice of taps, with its interval as a band."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

from shiftless.errors import BadInput
from shiftless.files import write_whole

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # told apart by everyone
_KINDS = ("png", "pdf", "svg")
Point = tuple[float, float, float]  # value, low, high


def draw_curves(
    path: str | os.PathLike[str],
    curves: Mapping[str, Sequence[Point]],
    timesteps: Sequence[int],
    *,
    title: str,
    metric: str,
    floor: float | None = None,
    best: tuple[int, str] | None = None,
) -> Path:
    """Draw curves as PNG, PDF or SVG.

    curves  name -> (value, low, high) at each timestep
    floor   a level to beat, dashed: the trivial baseline
    best    (timestep, name) of the point to mark

    Raises BadInput without matplotlib, and for a path that cannot be written or is of another kind.
    """
    kind = Path(path).suffix[1:].lower()
    if kind not in _KINDS:
        raise BadInput(f"{path}: draw to a .{', .'.join(_KINDS)} file")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise BadInput("drawing needs matplotlib; run: pip install shiftless[view]") from None

    figure = Figure(figsize=(8.4, 4.6), dpi=150, layout="constrained")
    axes = figure.subplots()
    for place, (name, points) in enumerate(curves.items()):
        colour, style = _COLOURS[place % len(_COLOURS)], ("-", "--", ":")[place // len(_COLOURS) % 3]
        value, low, high = zip(*points)
        axes.plot(timesteps, value, style, marker="o", ms=3.5, lw=1.8, color=colour, label=name)
        axes.fill_between(timesteps, low, high, color=colour, alpha=0.1, lw=0)
    if floor is not None:
        axes.axhline(floor, color="0.4", lw=1.2, ls=(0, (4, 3)), zorder=0, label="trivial: same relative position")
    if best is not None:
        step, name = best
        height = curves[name][list(timesteps).index(step)][0]
        axes.annotate(
            f"best: t={step}, {name}", (step, height), (0, 16), textcoords="offset points", ha="center", size=9,
            weight="bold", arrowprops={"arrowstyle": "-", "color": "0.3"},
        )  # fmt: skip
    # By its square root the timestep is about as noisy as it looks, and 1 and 20 stay apart.
    axes.set_xscale("function", functions=(lambda t: abs(t) ** 0.5, lambda x: x**2))
    axes.set_xlim(0, max(timesteps) * 1.04)
    axes.set_xticks(timesteps, [str(t) for t in timesteps])
    axes.set_xlabel("timestep: how much noise is added before reading, of 1000")
    axes.set_ylabel(metric)
    top = max(high for points in curves.values() for _, _, high in points)
    axes.set_ylim(0, max(top, floor or 0) * 1.12 or 1)
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", size=11)
    figure.legend(frameon=False, fontsize=9, loc="outside right upper")
    content = BytesIO()
    figure.savefig(content, format=kind)
    return write_whole(path, content.getvalue())
