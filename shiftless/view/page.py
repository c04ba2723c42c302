"""A report's index.html: chapters of sentences, pictures and small tables, without external resources."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from PIL import Image

from shiftless.atomic import write_atomic
from shiftless.view.sheet import save_picture


@dataclass(frozen=True)
class Figure:
    """A picture in a light and a dark version: the light one's file name, a caption, and (width, height)."""

    file: str
    caption: str
    size: tuple[int, int]

    @property
    def dark(self) -> str:
        """The file name of the dark version."""
        return self.file.replace(".png", "-dark.png")


@dataclass(frozen=True)
class Bars:
    """Values with intervals, drawn as bars from 0: rows of (name, value, low, high, main).

    The scale runs from `bottom`, 0 or below, to `top`. A value without an interval has NaN for low and high.
    """

    title: str
    rows: Sequence[tuple[str, float, float, float, bool]]
    top: float
    form: str = "{:.2f}"
    bottom: float = 0.0


@dataclass(frozen=True)
class Grid:
    """A small table: heads over its columns, rows of (name, cells); those of `bold` (row, column) stand out."""

    title: str
    heads: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    bold: frozenset[tuple[int, int]] = frozenset()


@dataclass
class Chapter:
    """One chapter of a page: its title, text, pictures and tables, in the order in which they stand.

    items  lines of a list        terms, commands  each with what it means
    """

    title: str
    text: list[str]
    look: str
    figures: list[Figure] = field(default_factory=list)
    bars: list[Bars] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    terms: list[tuple[str, str]] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)


def draw_figure(out: Path, file: str, caption: str, drawn: Callable[[str], Image.Image]) -> Figure:
    """Write both versions of a picture; `drawn` makes one for a theme, "light" or "dark"."""
    light = drawn("light")
    figure = Figure(file, caption, light.size)
    save_picture(light, out / figure.file)
    save_picture(drawn("dark"), out / figure.dark)
    return figure


def write_page(out: Path, title: str, lead: str, chapters: Sequence[Chapter], foot: str) -> Path:
    """Write index.html beside its pictures, whole or not at all, and return its path."""
    body = "\n".join(_chapter(number, chapter) for number, chapter in enumerate(chapters, 1))
    links = "".join(f'<a href="#c{i}">{escape(chapter.title)}</a>' for i, chapter in enumerate(chapters, 1))
    page = _PAGE.format(title=escape(title), lead=escape(lead), links=links, body=body, foot=escape(foot), style=_STYLE)
    return write_atomic(out / "index.html", page.encode("utf-8"))


def _chapter(number: int, chapter: Chapter) -> str:
    parts = [f'<section id="c{number}"><h2><span>{number}</span>{escape(chapter.title)}</h2>']
    parts += [f"<p>{escape(text)}</p>" for text in chapter.text]
    parts += [_figure(figure) for figure in chapter.figures]
    parts += [_bars(bars) for bars in chapter.bars]
    parts += [_grid(grid) for grid in chapter.grids]
    parts += [f"<p>{escape(text)}</p>" for text in chapter.after]
    if chapter.items:
        parts.append(f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in chapter.items)}</ul>")
    for tag, pairs in (("strong", chapter.terms), ("code", chapter.commands)):
        if pairs:
            rows = "".join(f"<dt><{tag}>{escape(name)}</{tag}></dt><dd>{escape(why)}</dd>" for name, why in pairs)
            parts.append(f"<dl>{rows}</dl>")
    return "\n".join([*parts, "</section>"])


def _figure(figure: Figure) -> str:
    wide, high = figure.size
    kind = ' class="wide"' if wide > _WIDE else ""
    return (
        f'<figure{kind}><a href="{escape(figure.file)}"><picture>'
        f'<source media="(prefers-color-scheme: dark)" srcset="{escape(figure.dark)}">'
        f'<img src="{escape(figure.file)}" width="{wide}" height="{high}" style="--wide:{wide}" '
        f'alt="{escape(figure.caption)}"></picture></a>'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def _bars(bars: Bars) -> str:
    rows = []
    span = 100 / (bars.top - bars.bottom)
    zero = -bars.bottom * span
    line = f'<u style="left:{zero:.1f}%"></u>' if bars.bottom < 0 else ""
    for name, value, low, high, main in bars.rows:
        left, share = zero + min(value, 0.0) * span, abs(value) * span
        start, wide = zero + low * span, max(high - low, 0.0) * span
        number, ends = bars.form.format(value), " to ".join(bars.form.format(v) for v in (low, high))
        interval = f'<b style="left:{start:.1f}%;width:{wide:.1f}%"></b>'
        if math.isnan(low):
            interval = ends = ""
        rows.append(
            f'<tr><th>{escape(name)}</th><td class="bar"><i class="{"main" if main else "rest"}" '
            f'style="left:{left:.1f}%;width:{share:.1f}%"></i>{line}'
            f"{interval}</td>"
            f"<td>{number}</td><td class='ends'>{ends}</td></tr>"
        )
    return f"<table class='bars'><caption>{escape(bars.title)}</caption>{''.join(rows)}</table>"


def _grid(grid: Grid) -> str:
    heads = "".join(f"<th>{escape(head)}</th>" for head in grid.heads)
    rows = []
    for i, (name, cells) in enumerate(grid.rows):
        shown = "".join(
            f"<td><strong>{escape(cell)}</strong></td>" if (i, j) in grid.bold else f"<td>{escape(cell)}</td>"
            for j, cell in enumerate(cells)
        )
        rows.append(f"<tr><th>{escape(name)}</th>{shown}</tr>")
    return (
        f'<div class="scroll"><table class="grid"><caption>{escape(grid.title)}</caption>'
        f"<thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


_WIDE = 1300  # pixels; a wider picture may stand out of the column of text
_STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c1e24;--muted:#686e7a;--line:#e6e7ea;--main:#2f6fdb;--rest:#c3c8d2}
@media(prefers-color-scheme:dark){:root{--paper:#16181d;--ink:#ecedf0;--muted:#989eaa;--line:#2c2f37;--main:#6a9cf0;
--rest:#4a505c}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:18px/1.6 system-ui,-apple-system,"Segoe UI",sans-serif}
header,section,footer{max-width:1180px;margin:0 auto;padding:0 24px}
header{padding-top:72px;padding-bottom:24px}
h1{font-size:clamp(32px,5vw,52px);line-height:1.12;letter-spacing:-.02em;margin:0 0 16px;max-width:18em}
header p{font-size:21px;color:var(--muted);max-width:42em;margin:0}
nav{display:flex;flex-wrap:wrap;gap:6px 20px;margin-top:28px;font-size:15px}
a{color:var(--main);text-decoration:none}a:hover{text-decoration:underline}
section{padding-top:44px;padding-bottom:20px}
h2{font-size:29px;line-height:1.2;letter-spacing:-.01em;margin:0 0 12px;border-top:1px solid var(--line);
padding-top:36px}
h2 span{color:var(--main);margin-right:.6em;font-variant-numeric:tabular-nums}
section>p{max-width:42em}
figure{margin:28px 0}
figure img{display:block;max-width:100%;height:auto;margin:0 auto;border-radius:10px}
figure.wide{width:min(100vw - 32px,1640px);margin-left:50%;transform:translateX(-50%)}
figcaption{color:var(--muted);font-size:15.5px;max-width:46em;margin:10px auto 0;text-align:center}
table{border-collapse:collapse;width:100%;max-width:900px;margin:28px 0;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding-bottom:8px}
th{text-align:left;font-weight:400;padding:8px 16px 8px 0;width:40%;overflow-wrap:anywhere}
td{padding:8px 0 8px 14px;white-space:nowrap}
.ends{color:var(--muted);font-size:15px}
.bar{position:relative;width:38%;padding:0}
.bar i{position:absolute;top:50%;height:22px;margin-top:-11px;border-radius:4px;background:var(--rest)}
.bar i.main{background:var(--main)}
.bar b{position:absolute;top:50%;height:2px;margin-top:-1px;background:var(--ink);opacity:.75}
.bar u{position:absolute;top:0;bottom:0;width:1px;background:var(--muted)}
.scroll{overflow-x:auto}
.grid{max-width:none;font-size:16px}
.grid th,.grid td{padding:6px 0 6px 16px;border-top:1px solid var(--line);vertical-align:top}
.grid th:first-child{padding-left:0;min-width:11em;width:auto}
.grid thead th{border-top:0;color:var(--muted);width:auto;text-align:right;vertical-align:bottom;overflow-wrap:normal}
.grid td{text-align:right}
li,dt{overflow-wrap:anywhere}
dl{max-width:900px}dt{margin-top:16px}dd{margin:2px 0 0;color:var(--muted)}
code{font:16px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--line);border-radius:6px;
padding:4px 10px;overflow-wrap:anywhere}
footer{color:var(--muted);font-size:15px;padding-top:40px;padding-bottom:60px}
figure>a{display:block;overflow-x:auto}
@media(max-width:700px){
body{font-size:17px}header,section,footer{padding-left:16px;padding-right:16px}header{padding-top:40px}
figure img{max-width:none;width:max(100%,calc(var(--wide)*.62px))}
.bars,.bars caption,.bars tbody{display:block}
.bars tr{display:grid;grid-template-columns:1fr auto auto;align-items:center;padding:6px 0}
.bars th{grid-column:1/-1;width:auto;padding:2px 0;overflow-wrap:break-word}
.bars td{padding:2px 0 2px 12px}.bars .bar{width:auto;height:26px;padding:0}
.grid th:first-child{min-width:8.5em}
}
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1><p>{lead}</p><nav>{links}</nav></header>
{body}
<footer>{foot}</footer>
</body>
</html>
"""
