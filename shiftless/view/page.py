"""A report's index.html: chapters of plain sentences, large pictures and small tables; nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from PIL import Image

from shiftless.files import write_whole
from shiftless.view.sheet import save_picture


@dataclass(frozen=True)
class Figure:
    """A picture in a light and a dark version: file name (of the light one), what to see in it, (width, height)."""

    file: str
    caption: str
    size: tuple[int, int]

    @property
    def dark(self) -> str:
        """The file name of the dark version."""
        return self.file.replace(".png", "-dark.png")


@dataclass(frozen=True)
class Bars:
    """Values with intervals, drawn as bars: rows of (name, value, low, high, main); `top` is the scale's end."""

    title: str
    rows: Sequence[tuple[str, float, float, float, bool]]
    top: float
    form: str = "{:.2f}"


@dataclass
class Chapter:
    """One part of the story: a title, what it says, what it shows, and what to look at."""

    title: str
    text: list[str]
    look: str
    figures: list[Figure] = field(default_factory=list)
    bars: list[Bars] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
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
    return write_whole(out / "index.html", page.encode("utf-8"))


def _chapter(number: int, chapter: Chapter) -> str:
    parts = [f'<section id="c{number}"><h2><span>{number}</span>{escape(chapter.title)}</h2>']
    parts += [f"<p>{escape(text)}</p>" for text in chapter.text]
    parts += [_figure(figure) for figure in chapter.figures]
    parts += [_bars(bars) for bars in chapter.bars]
    parts += [f"<p>{escape(text)}</p>" for text in chapter.after]
    if chapter.commands:
        rows = "".join(f"<dt><code>{escape(command)}</code></dt><dd>{escape(why)}</dd>"
                       for command, why in chapter.commands)  # fmt: skip
        parts.append(f"<dl>{rows}</dl>")
    return "\n".join([*parts, "</section>"])


def _figure(figure: Figure) -> str:
    wide, high = figure.size
    return (
        f'<figure><a href="{escape(figure.file)}"><picture>'
        f'<source media="(prefers-color-scheme: dark)" srcset="{escape(figure.dark)}">'
        f'<img src="{escape(figure.file)}" width="{wide}" height="{high}" alt="{escape(figure.caption)}"></picture></a>'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def _bars(bars: Bars) -> str:
    rows = []
    for name, value, low, high, main in bars.rows:
        share, start, wide = (100 * v / bars.top for v in (value, low, max(high - low, 0.0)))
        number, ends = bars.form.format(value), " to ".join(bars.form.format(v) for v in (low, high))
        rows.append(
            f'<tr><th>{escape(name)}</th><td class="bar"><i class="{"main" if main else "rest"}" '
            f'style="width:{share:.1f}%"></i><b style="left:{start:.1f}%;width:{wide:.1f}%"></b></td>'
            f"<td>{number}</td><td class='ends'>{ends}</td></tr>"
        )
    return f"<table><caption>{escape(bars.title)}</caption>{''.join(rows)}</table>"


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
figcaption{color:var(--muted);font-size:15.5px;max-width:46em;margin:10px auto 0;text-align:center}
table{border-collapse:collapse;width:100%;max-width:900px;margin:28px 0;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding-bottom:8px}
th{text-align:left;font-weight:400;padding:8px 16px 8px 0;width:40%}
td{padding:8px 0 8px 14px;white-space:nowrap}
.ends{color:var(--muted);font-size:15px}
.bar{position:relative;width:38%;padding:0}
.bar i{position:absolute;left:0;top:9px;bottom:9px;border-radius:4px;background:var(--rest)}
.bar i.main{background:var(--main)}
.bar b{position:absolute;top:50%;height:2px;margin-top:-1px;background:var(--ink);opacity:.75}
dl{max-width:900px}dt{margin-top:16px}dd{margin:2px 0 0;color:var(--muted)}
code{font:16px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--line);border-radius:6px;
padding:4px 10px;overflow-wrap:anywhere}
footer{color:var(--muted);font-size:15px;padding-top:40px;padding-bottom:60px}
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
