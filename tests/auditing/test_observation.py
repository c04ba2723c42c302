"""What the audit sees, where the answer is known: nothing, a thing that moved, a thing that changed its colour."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

import shiftless
from shiftless import BadInput, Recipe
from shiftless.auditing.measures import expected
from shiftless.auditing.observation import observe
from shiftless.image import to_uint8

AT = Recipe(timestep=300, taps=("up1",))
GROUND, CAME, WENT = slice(0, 64), (slice(36, 57), slice(36, 57)), (slice(8, 29), slice(8, 29))


def kept(picture: torch.Tensor, prompt: str) -> torch.Tensor:
    return picture


def moved(picture: torch.Tensor, prompt: str) -> torch.Tensor:
    result = picture.clone()
    result[..., CAME[0], CAME[1]] = picture[..., WENT[0], WENT[1]]
    result[..., WENT[0], WENT[1]] = picture[..., CAME[0], CAME[1]]
    return result


def recoloured(picture: torch.Tensor, prompt: str) -> torch.Tensor:
    """Turn every hue by a right angle at equal lightness and chroma."""
    from skimage.color import lab2rgb, rgb2lab

    lab = rgb2lab(((picture[0].permute(1, 2, 0) + 1) / 2).clamp(0, 1).numpy())
    lab[..., 1], lab[..., 2] = 0.5 * lab[..., 2], -0.5 * lab[..., 1]  # half the chroma stays inside what RGB can show
    return torch.from_numpy(lab2rgb(lab)).permute(2, 0, 1)[None].float() * 2 - 1


def test_an_untouched_reconstruction_has_no_shift(dreaming, disc):
    observed = next(observe(dreaming(kept), [disc], [AT, AT.but(timestep=600)]))
    for name, values in observed.scores.items():
        assert values == pytest.approx(0, abs=0.1 if "colour" in name else 2e-3), name  # the noise itself, a trace
    assert all(where.max() < 0.1 for where in observed.where)
    assert np.abs(observed.once[0].astype(int) - disc).max() <= 1
    assert observed.floor["colour"] == pytest.approx(0, abs=0.1)


def test_a_moved_part_scores_where_it_moved(dreaming, disc):
    observed = next(observe(dreaming(moved), [disc], [AT]))
    where = observed.where[0]
    there = np.zeros((64, 64), bool)
    there[5:32, 5:32] = there[33:60, 33:60] = True  # with the blur's margin
    assert where[there].sum() > 0.95 * where.sum()
    assert where[18, 18] > 10 < where[46, 46]
    for name in ("structure", "edges", "colour", "latent", "features"):
        assert observed.scores[name][0] > 0.02, name
    assert np.array_equal(
        observed.once[0], to_uint8(moved(torch.from_numpy(disc).permute(2, 0, 1)[None] / 127.5 - 1, ""))[0]
    )


def test_a_recoloured_picture_scores_in_colour_and_not_in_structure(dreaming, disc):
    recolour, move = (next(observe(dreaming(how), [disc], [AT], finish=0)).scores for how in (recoloured, moved))
    assert recolour["colour"][0] > 5
    assert recolour["structure"][0] < 0.02 < move["structure"][0]
    assert recolour["edges"][0] < 0.1


def test_what_varies_with_the_noise_was_invented(dreaming, disc):
    sure, unsure = (next(observe(dreaming(moved, noise), [disc], [AT], finish=0, draws=3)).scores for noise in (0, 0.3))
    assert sure["spread"][0] == pytest.approx(0, abs=1e-4)
    assert sure["seeds"][0] == pytest.approx(0, abs=1e-4)
    assert unsure["spread"][0] > 0.05
    assert unsure["seeds"][0] > 0.02
    alone = next(observe(dreaming(moved), [disc], [AT], draws=1)).scores
    assert "spread" not in alone
    assert "seeds" not in alone


def test_each_recipe_has_its_own_prediction(dreaming, disc):
    def reported(picture, prompt):
        return picture if prompt == "a disc" else moved(picture, prompt)

    observed = next(observe(dreaming(reported), [disc], [AT, AT.but(prompt="a disc")]))
    bare, steered = observed.scores["structure"]
    assert steered < 1e-3 < bare
    assert len(observed.once) == len(observed.finished) == len(observed.where) == 2


def test_the_numbers_are_the_same_for_every_batch_and_every_run():
    model = shiftless.load("mini", device="cpu", size=64)
    pictures = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(3)]
    recipes = [Recipe(timestep=300, taps=("up0",)), Recipe(timestep=300, taps=("up0",), control="canny")]
    some = {1: pictures[2:], 2: pictures, 3: pictures}  # one by one, the last is enough
    runs = [list(observe(model, some[batch], recipes, batch=batch, finish=2)) for batch in (3, 2, 1)]
    for run in runs[1:]:
        for one, other in zip(runs[0][-len(run) :], run, strict=True):
            for name, values in one.scores.items():
                assert np.array_equal(values, other.scores[name]), name
    assert not np.array_equal(runs[0][0].scores["latent"], runs[0][1].scores["latent"])


def test_nothing_of_a_photo_is_kept_once_it_was_seen(dreaming):
    def pictures():
        for i in range(12):
            yield np.full((64, 64, 3), i * 20, np.uint8)

    gc.collect()
    gc.freeze()  # what other tests keep need not be looked through for each photo
    alive: list[weakref.ref] = []
    most = 0
    for observed in observe(dreaming(kept), pictures(), [AT], batch=2, finish=0):
        alive.append(weakref.ref(observed))
        del observed
        gc.collect()
        most = max(most, sum(ref() is not None for ref in alive))
    assert len(alive) == 12
    assert most <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws=0"),
        ({"finish": -1}, "finish=-1"),
        ({"cleanest": 1000}, "cleanest=1000"),
        ({"batch": 0}, "batch=0"),
    ],
)
def test_arguments_out_of_range_are_refused(dreaming, disc, options, message):
    with pytest.raises(BadInput, match=message):
        next(observe(dreaming(kept), [disc], [AT], **options))


def test_a_model_without_noise_has_nothing_to_audit(dreaming, disc):
    from dataclasses import replace

    model = dreaming(kept)
    model.spec = replace(model.spec, takes_noise=False)
    with pytest.raises(BadInput, match="takes no noise"):
        next(observe(model, [disc], [AT]))


def test_a_perceptual_model_judges_pictures_once_and_finished(dreaming, disc):
    class PerceptualModel:
        name = "coarse"

        def look(self, picture):
            return torch.nn.functional.avg_pool2d(torch.from_numpy(picture).permute(2, 0, 1)[None].float() - 0.5, 8)

    move, keep = (next(observe(dreaming(how), [disc], [AT], perceptual=PerceptualModel())) for how in (moved, kept))
    assert keep.scores["perceptual"][0] < 1e-3 < 0.01 < move.scores["perceptual"][0]
    assert "perceptual, finished" in move.scores
    assert move.floor["perceptual"] < 1e-3


@pytest.mark.parametrize(("draws", "finish"), [(1, 0), (1, 2), (2, 0), (2, 2)])
def test_the_measures_taken_are_those_that_were_promised(dreaming, disc, draws, finish):
    observed = next(observe(dreaming(kept), [disc], [AT], draws=draws, finish=finish))
    assert set(observed.scores) == set(expected(draws, finish, perceptual=False))
