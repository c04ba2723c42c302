from __future__ import annotations

import pytest
import torch

from shiftless.amalgamate.layout import Layout
from shiftless.errors import BadInput
from shiftless.tasks.head import CorrespondenceHead
from shiftless.tasks.pairfeatures import PairFeatures
from shiftless.training.head import fit, fit_seeds, pck

OPTIONS = {"hidden": 16}


@pytest.fixture(scope="module")
def train(known):
    return PairFeatures.gather(known.pairs(0, 12), normalise=False)


@pytest.fixture(scope="module")
def validation(known):
    return PairFeatures.gather(known.pairs(100, 12), normalise=False)


def state(head: CorrespondenceHead) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in head.parameters()])


def test_a_gate_learns_which_reading_to_trust(train, validation, known):
    plain = pck(CorrespondenceHead(Layout(2, (("up1", known.channels),), normalise=False), "mean"), validation)
    result = fit(train, validation, options=OPTIONS, recipes=known.recipes, steps=60, batch=4, lr=0.01, every=20)
    assert result.head.recipes == known.recipes
    assert not result.head.training
    best = max(row["pck"] for row in result.history)
    assert pck(result.head, validation) == best >= plain + 0.3
    assert result.history[-1]["loss"] < result.history[1]["loss"]
    weights = result.head.merge.weights(validation[0].source.readings[:, None].float())
    assert weights[0].mean() > 0.8


def test_the_same_seed_gives_the_same_head_and_another_another(train):
    settings = {"options": OPTIONS, "conv": True, "steps": 3}
    first, again, other = (fit(train, seed=seed, **settings).head for seed in (0, 0, 1))
    assert torch.equal(state(first), state(again))
    assert not torch.equal(state(first), state(other))
    before = torch.random.get_rng_state()
    assert [f.seed for f in fit_seeds(train, seeds=(4, 5), **settings)] == [4, 5]
    assert torch.equal(before, torch.random.get_rng_state())  # the caller's draws are untouched


def test_training_stops_when_validation_stops_gaining(train, validation):
    result = fit(train, validation, options=OPTIONS, steps=500, lr=1e-12, every=2, patience=3)
    assert result.history[-1]["step"] == 6  # nothing moves, so three looks without gain
    assert result.best == 0
    longer = fit(train, validation, options=OPTIONS, steps=10, lr=1e-12, every=2, patience=None)
    assert longer.history[-1]["step"] == 10


def test_a_budget_is_kept_and_equal_for_all(train):
    rows = [fit(train, amalgamator=a, options=o, steps=3, conv=c).history
            for a, o in (("gate", OPTIONS), ("hyper", {"width": 16})) for c in (False, True)]  # fmt: skip
    assert [row[-1]["step"] for row in rows] == [3, 3, 3, 3]
    assert fit(train, amalgamator="mean", steps=3).history == []  # nothing to learn


def test_photos_of_different_shapes_train_together(train):
    from dataclasses import replace

    cut = [replace(p, source=replace(p.source, readings=p.source.readings[..., :6, :],
                                     attention=p.source.attention[..., :6, :])) for p in train.pairs[:2]]  # fmt: skip
    mixed = PairFeatures((*cut, *train.pairs[2:4]), train.layout)
    assert fit(mixed, options=OPTIONS, steps=1, batch=4).history[0]["loss"] > 0


@pytest.mark.parametrize(("conv", "negatives"), [(True, "grid"), (False, "points")])
def test_sparsity_and_negatives(train, conv, negatives):
    settings = {"options": {**OPTIONS, "dropout": 0.0}, "steps": 40, "lr": 0.01, "conv": conv, "negatives": negatives}
    plain, peaked = (fit(train, peak=peak, ramp=0.5, **settings).head for peak in (0.0, 5.0))
    readings = train[0].source.readings[:, None].float()
    assert peaked.merge.weights(readings).amax(0).mean() > plain.merge.weights(readings).amax(0).mean()


def test_a_concat_with_components_is_fitted_first(train, validation, known):
    result = fit(train, validation, amalgamator="concat", options={"components": 4})
    assert result.best == 0
    axes = result.head.merge.axes
    torch.testing.assert_close(axes @ axes.T, torch.eye(4), atol=1e-4, rtol=0)
    assert not torch.equal(axes, torch.eye(4, 2 * known.channels))


def test_settings_that_make_no_sense(train, validation, known):
    with pytest.raises(BadInput, match="another layout"):
        fit(train, PairFeatures.gather(known.pairs(0, 1), side=4))
    with pytest.raises(BadInput, match="at least 1"):
        fit(train, steps=0)
    with pytest.raises(BadInput, match="grid, points"):
        fit(train, negatives="all")
    with pytest.raises(BadInput, match="no pairs"):
        fit(train, validation[:0])
