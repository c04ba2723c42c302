"""The page is whole HTML: every tag is closed, every text escaped, bars lie where their numbers say."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shiftless.view.page import Bars, Chapter, Figure, Grid, _bars, write_page


def chapter(text: str = "words") -> Chapter:
    one = Chapter(
        text, [text], "", [Figure("a.png", text, (2000, 10))], [Bars(text, [(text, 1.0, 0.5, 1.5, True)], 2.0)]
    )
    one.grids = [Grid(text, [text, "b"], [(text, ["1", text])], frozenset({(0, 1)}))]
    one.after, one.items, one.terms, one.commands = [text], [text], [(text, text)], [(text, text)]
    return one


@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1))
def test_any_text_is_shown_as_it_is_and_breaks_nothing(texts_of, tmp_path_factory, text):
    text = f"§{text}"  # no number or word of the page's own
    path = write_page(tmp_path_factory.getbasetemp() / "any", text, text, [chapter(text)], text)
    texts = texts_of(path.read_text(encoding="utf-8"))
    assert texts.count(text) == 20  # every place of a text, and none twice


def places(bars: Bars) -> list[tuple[float, ...]]:
    """Left and width of each bar and of its interval, percent of the scale."""
    place = r'style="left:([\d.-]+)%;width:([\d.]+)%"'
    return [tuple(map(float, row)) for row in re.findall(rf"<i [^>]*{place}></i>.*?<b {place}", _bars(bars))]


@pytest.mark.parametrize(
    ("bars", "expected"),
    [
        (Bars("t", [("a", 0.5, 0.25, 1.0, True)], top=1.0), (0, 50, 25, 75)),
        (Bars("t", [("a", 5.0, 0.0, 10.0, True)], top=10.0, bottom=-10.0), (50, 25, 50, 50)),
        (Bars("t", [("a", -5.0, -10.0, 0.0, True)], top=10.0, bottom=-10.0), (25, 25, 0, 50)),
        (Bars("t", [("a", 1.0, 1.0, 1.0, True)], top=2.0), (0, 50, 50, 0)),
    ],
)
def test_bars_begin_at_zero_and_reach_their_value(bars, expected):
    assert places(bars) == [pytest.approx(expected)]
    assert ("<u " in _bars(bars)) == (bars.bottom < 0)


def test_a_grid_shows_its_cells_in_place_and_the_bold_ones_bold(tmp_path):
    one = Chapter(
        "c", [], "", grids=[Grid("g", ["x", "y"], [("a", ["1", "2"]), ("b", ["3", "4"])], frozenset({(1, 0)}))]
    )
    html = write_page(tmp_path, "t", "l", [one], "f").read_text()
    assert "<tr><th>a</th><td>1</td><td>2</td></tr><tr><th>b</th><td><strong>3</strong></td><td>4</td></tr>" in html


def test_only_wide_pictures_leave_the_column(tmp_path):
    figures = [Figure("wide.png", "", (1301, 10)), Figure("small.png", "", (1300, 10))]
    html = write_page(tmp_path, "t", "l", [Chapter("c", [], "", figures)], "f").read_text()
    assert html.count('<figure class="wide">') == html.count("<figure>") == 1
    assert 'srcset="wide-dark.png"' in html


def test_a_narrow_page_stacks_its_bars_and_scrolls_its_pictures(tmp_path):
    """A name stands over its bar and is not broken; a wide picture keeps the size that its labels can be read at."""
    html = write_page(tmp_path, "t", "l", [chapter()], "f").read_text()
    wide, narrow = html.split("@media(max-width:700px)")
    narrow = narrow.partition("</style>")[0]
    assert 'content="width=device-width' in html
    assert "figure>a{display:block;overflow-x:auto}" in wide
    assert "figure img{max-width:none;width:max(100%,calc(var(--wide)*.62px))}" in narrow
    assert 'width="2000" height="10" style="--wide:2000"' in html
    assert ".bars th{grid-column:1/-1;" in narrow
    assert "overflow-wrap:break-word" in narrow
    assert "anywhere" not in narrow
    assert html.count("<table class='bars'>") == 1


def test_a_value_without_an_interval_has_a_bar_alone():
    nan = float("nan")
    html = _bars(Bars("t", [("a", 1.0, nan, nan, True)], top=4.0))
    assert '<i class="main" style="left:0.0%;width:25.0%"></i></td><td>1.00</td>' in html
    assert "<b" not in html
    assert "nan" not in html
