"""The MAE's rows: alone it matches by its own features, and fused by the mean of two cosines."""

import numpy as np
import pytest

from miniworld.tables.correspondence import GAIN, fused_rows
from miniworld.tables.fusion import ALONE, FUSED, evaluate_fused
from miniworld.tables.pairs import mini_pairs
from shiftless.backbones.registry import load
from shiftless.bench.pairs import score
from shiftless.reading import extract
from shiftless.recipe import Recipe
from shiftless.tasks.correspondence import match

SD, DINO = Recipe(timestep=50, taps=("up1",), size=64), Recipe(taps=("block0",), size=64)


@pytest.fixture(scope="module")
def scored():
    model, other = (load(f"twin:{name}", device="cpu", dtype="fp32") for name in ("sd15", "dino-s16"))
    pairs = mini_pairs("val", 2)
    return pairs, model, other, evaluate_fused(model, other, pairs, SD, reading=DINO)


def test_alone_it_matches_by_its_own_features(scored):
    pairs, _, other, scores = scored
    points = [
        match(*extract(other, [pair.source, pair.target], DINO), pair.source_points).points for pair in pairs
    ]  # fmt: skip
    np.testing.assert_array_equal(scores[ALONE].bbox, score(pairs, points).bbox)


def test_the_fused_row_gains_over_the_baseline_as_its_scores_say(scored):
    pairs, model, _, scores = scored
    plain = [match(*extract(model, [pair.source, pair.target], SD), pair.source_points).points for pair in pairs]
    baseline = score(pairs, plain)
    rows = {(row.method, row.metric): row.value for row in fused_rows(scores, baseline, ", photo")}
    assert rows[FUSED, f"{GAIN}, photo"] == pytest.approx(
        (scores[FUSED].bbox.sum() - baseline.bbox.sum()) / baseline.totals.sum()
    )
    assert {method for method, _ in rows} == {ALONE, FUSED}
