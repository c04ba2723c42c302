"""The audit's answer: ranked, paired, with intervals; a bad photo is listed and the rest go on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import shiftless
from shiftless import BadInput, Recipe
from shiftless.auditing import Audit, audit

AT = Recipe(timestep=300, taps=("up1",))


def dimmed(picture: torch.Tensor, prompt: str) -> torch.Tensor:
    """Darken and blur: the less, the more the prompt says."""
    strength = {"": 0.6, "a disc": 0.3, "auto": 0.9}.get(prompt, 0.0)
    blurred = torch.nn.functional.avg_pool2d(picture, 9, 1, 4)
    return (1 - strength) * picture + strength * (blurred - 0.2)


@pytest.fixture
def pictures(disc):
    return [np.roll(disc, 3 * i, axis=1) for i in range(5)]


@pytest.fixture
def result(dreaming, pictures):
    return audit(
        dreaming(dimmed), pictures, [AT.but(prompt="a disc"), AT.but(prompt="an orange disc on grey")], finish=2
    )


def test_recipes_are_ranked_and_compared_with_the_bare_reading(dreaming, pictures):
    recipes = [AT, AT.but(prompt="a small orange disc"), AT.but(timestep=500, prompt="a small orange disc")]
    result = audit(dreaming(dimmed), pictures, recipes, finish=0)
    assert [r.label for r in result.recipes] == ["t=500", "t=300", *(r.label for r in result.recipes[2:])]
    assert result.baselines == (0, 1, 1, 0)
    for measure in ("structure", "colour", "latent"):
        assert set(result.ranked(measure)[:2]) == {2, 3}
        saved = result.saved(2, measure)
        assert saved.value == pytest.approx(1, abs=0.02)
        assert saved.low > 0.9
        assert result.saved(0, measure).value == 0


def test_values_are_means_over_photos_with_their_interval(result):
    scores = result.scores["colour"]
    value = result.value(1, "colour")
    assert scores.shape == (5, 2)
    assert value.value == pytest.approx(scores[:, 1].mean())
    assert scores[:, 1].min() <= value.low <= value.value <= value.high <= scores[:, 1].max()


def test_a_photo_that_cannot_be_read_is_listed_and_the_others_are_not_touched(dreaming, pictures, tmp_path, result):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    recipes = [AT.but(prompt="a disc"), AT.but(prompt="an orange disc on grey")]
    again = audit(dreaming(dimmed), [*pictures[:2], bad, *pictures[2:], tmp_path / "gone.jpg"], recipes, finish=2)
    assert len(again.names) == 5
    assert [line.partition(":")[0] for line in again.skipped] == [str(bad), str(tmp_path / "gone.jpg")]
    for measure, scores in result.scores.items():
        assert np.array_equal(scores, again.scores[measure])
    with pytest.raises(BadInput, match=r"no photo could be read: .*bad\.jpg"):
        audit(dreaming(dimmed), [bad], AT)


def test_it_is_written_as_json_and_printed(result, tmp_path):
    written = json.loads(result.write(tmp_path / "a.json").read_text(encoding="utf-8"))
    assert [row["rank"] for row in written["rows"] if row["measure"] == result.headline] == [1, 2]
    assert {row["measure"] for row in written["rows"]} == set(result.scores)
    back = [shiftless.Recipe.from_dict(one) for one in written["recipes"]]
    assert tuple(back) == result.recipes
    first = written["photos"][0]["scores"]
    assert first["colour"] == pytest.approx(result.scores["colour"][0])
    text = str(result)
    assert text.index(result.recipes[result.ranked()[0]].label) < text.index(result.recipes[result.ranked()[-1]].label)


def test_one_image_of_any_kind_is_enough(dreaming, disc, tmp_path):
    from PIL import Image

    Image.fromarray(disc).save(tmp_path / "a.png")
    kinds = [disc, Image.fromarray(disc), tmp_path / "a.png", torch.from_numpy(disc).permute(2, 0, 1) / 127.5 - 1]
    answers = [audit(dreaming(dimmed), kind, AT, finish=0, draws=1).scores["colour"] for kind in kinds]
    for answer in answers[1:]:
        assert answer == pytest.approx(answers[0], abs=1e-3)


def test_the_headline_can_be_another_measure_that_was_taken(result):
    assert result.ranking_by("colour").headline == "colour"
    with pytest.raises(BadInput, match="'taste' was not taken"):
        result.ranking_by("taste")


def test_without_a_baselines_shift_nothing_is_saved():
    scores = {"features": np.zeros((2, 2))}
    nothing = Audit("m", (Recipe(), Recipe(seed=1)), (0, 0), ["a", "b"], scores, {}, headline="features")
    assert tuple(nothing.saved(1)) == (0, 0, 0)


def test_no_recipe_is_refused(dreaming, disc):
    with pytest.raises(BadInput, match="no recipe"):
        audit(dreaming(dimmed), disc, [])


def test_a_published_bucket_can_be_audited_on_a_twin(pictures):
    recipes = shiftless.preset("gate-spair").recipes
    recipes = [recipe.but(lora=(), lora_scale=(1.0,), size=64, start=None) for recipe in recipes]
    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    result = shiftless.audit(model, pictures[:1], recipes, finish=0, draws=1)
    assert len(result.recipes) >= len(recipes)
    assert all(np.isfinite(values).all() for values in result.scores.values())


def test_an_ensemble_shifts_less_than_one_draw_where_the_noise_decides(dreaming, pictures):
    model = dreaming(dimmed, noise=0.5)
    one, eight = audit(model, pictures, [AT, AT.but(ensemble=8)], finish=2).scores["latent"].T
    invented, kept = one.mean() - eight.mean(), eight.mean()
    assert invented > 0
    dark = audit(dreaming(dimmed), pictures, AT, finish=2).scores["latent"].mean()  # what no draw decides
    assert kept - dark == pytest.approx((one.mean() - dark) / 8, rel=0.1)
