"""A report holds every file and every recipe it should, from one photo and recipe to thirty, and says what failed."""

from __future__ import annotations

import re
import shlex

import pytest
from PIL import Image

from shiftless.errors import BadInput
from shiftless.recipe import Recipe
from shiftless.view.audit_page import flags, write_report

HOSTILE = '<script>alert(1)</script> & "more"'


def thirty() -> dict[Recipe, float]:
    steered = [{}, {"prompt": "auto"}, {"control": "canny"}, {"lora": "a"}, {"lora": "b"}]
    return {
        Recipe(timestep=t, label=f"recipe {t} {i}" + "-long" * 12, **kind): t / 1000 - i / 30
        for t in (200, 300, 400, 500, 600, 700)
        for i, kind in enumerate(steered)
    }


@pytest.fixture
def report(audit_of, seen_of, texts_of, tmp_path):
    def make(means, n=3, sheets=2, skipped=(), **options):
        audit = audit_of(means, n, skipped=skipped)
        drawn = [seen_of(len(audit.recipes), name=f"photos/{i:02}.jpg", shift=1.0 + i) for i in range(sheets)]
        page = write_report(tmp_path / "out", audit, drawn, **options)
        html = page.read_text(encoding="utf-8")
        return audit, page, html, texts_of(html)

    return make


@pytest.mark.parametrize(
    ("means", "n", "sheets"),
    [({Recipe(timestep=300): 0.3}, 1, 1), ({Recipe(timestep=300): 0.3, Recipe(timestep=300, prompt="auto"): 0.4}, 2, 0),
     (thirty(), 5, 2)],
    ids=["one", "two", "thirty"],
)  # fmt: skip
def test_the_page_names_every_recipe_and_every_file_is_there(report, means, n, sheets):
    audit, page, html, texts = report(means, n, sheets)
    for recipe in audit.recipes:
        assert recipe.label in texts
    named = set(re.findall(r'(?:src|srcset|href)="([^"#]+)"', html))
    assert named == {path.name for path in page.parent.iterdir()} - {"index.html"}
    curve, glance = len({r.timestep for r in audit.recipes}) > 1, sheets > 1
    assert len(named) == 2 * (sheets + curve + glance)  # each in light and dark
    assert not re.search(r"https?:|url\(|<script|@import", html)
    for name in named:
        with Image.open(page.parent / name) as picture:
            picture.load()


def test_numbers_on_the_page_are_the_audit_s(report):
    audit, _, html, _ = report({Recipe(timestep=300): 0.4, Recipe(timestep=300, prompt="auto"): 0.3}, n=8)
    for k in (0, 1):
        value, low, high = audit.value(k)
        assert f"<td>{value:.3f}</td><td class='ends'>{low:.3f} to {high:.3f}</td>" in html
    assert "<td>25%</td>" in html
    assert "<td>4.0</td>" in html
    assert "<strong>3.0</strong>" in html
    assert html.index("t=300 captions</th>") < html.index("t=300</th>")  # least shift first


def test_a_technique_that_costs_content_gets_a_bar_to_the_left(report):
    audit, _, html, _ = report({Recipe(timestep=300): 0.2, Recipe(timestep=300, prompt="auto"): 0.3}, n=8)
    assert audit.saved(1).high < 0
    assert "<td>-50%</td>" in html
    assert html.count("<u ") == 1


def test_photos_that_failed_are_listed_and_hostile_names_do_no_harm(report):
    failed = [f"{HOSTILE}.jpg: the file ends too early", "b.jpg: no such file"]
    hostile = {Recipe(timestep=300): 0.4, Recipe(timestep=300, prompt="auto", label=HOSTILE): 0.3}
    _, _, html, texts = report(hostile, skipped=failed, title=HOSTILE, foot=HOSTILE, commands=[(HOSTILE, HOSTILE)])
    assert all(one in texts for one in failed)
    assert "2 photos could not be read, and took no part:" in texts
    assert texts.count(HOSTILE) > 5
    assert "<script" not in html


def test_photos_are_shown_most_shift_first_and_it_says_how_many_are_not(report):
    _, _, html, texts = report({Recipe(timestep=300): 0.4}, n=5, sheets=3)
    assert html.index("photos/02.jpg") < html.index("photos/01.jpg") < html.index("photos/00.jpg")
    assert "Shown are 3 of 5 photos." in texts


def test_one_photo_is_said_to_tell_nothing_of_others(report):
    texts = report({Recipe(timestep=300): 0.4, Recipe(timestep=300, prompt="auto"): 0.3}, n=1, sheets=1)[3]
    assert any("One photo tells nothing of others" in text for text in texts)
    assert not any("bootstrap" in text or "that is clear" in text for text in texts)


def test_without_matplotlib_the_report_goes_without_the_curve(report, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    _, page, _, texts = report({Recipe(timestep=t): t / 1000 for t in (100, 300)})
    assert any("pip install shiftless[view]" in text for text in texts)
    assert not (page.parent / "curve.png").exists()


def test_a_folder_that_cannot_be_written_is_named(audit_of, seen_of, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="file"):
        write_report(tmp_path / "file" / "out", audit_of({Recipe(): 0.3}), [seen_of(1)])


def test_the_command_for_a_recipe_makes_that_recipe_again():
    from typer import Typer
    from typer.testing import CliRunner

    from shiftless.cli.flags import takes_recipe

    made = []

    @takes_recipe
    def read(model: str, *, recipe: Recipe) -> None:
        made.append(recipe)

    app = Typer()
    app.command()(read)
    for recipe in (
        Recipe(timestep=0, taps=("mid", "up1"), prompt="it's a $horse", control=("canny", "depth"), seed=7),
        Recipe(timestep=300, control_scale=(0.5,), control=("canny",), start=340, steps=2),
        Recipe(timestep=100, taps=("up0",), noise="invert", steps=4, size=96, fit="squash"),
    ):
        for model in ("mini", "sd21", "twin:sd15"):
            completed = CliRunner().invoke(app, [model, *shlex.split(flags(recipe, model))])
            assert completed.exit_code == 0, completed.output
            assert made.pop() == recipe
