"""bench mini-audit: correlations that are known by construction, and one small run from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import shiftless
from miniworld import datasets
from miniworld.tables.audit import (
    CHEAPEST,
    MIOU,
    PCK,
    TRUTH,
    Result,
    cheapest_of_the_best,
    chosen,
    correlations,
    rows_of,
    run,
)
from miniworld.tables.configurations import TECHNIQUES, TIMESTEPS, configurations, halves
from miniworld.tables.downstream import Downstream, half_of, halves_of_pairs
from shiftless.auditing.measures import FINISHED, HEADLINE, MEASURES, PERCEPTUAL
from shiftless.bench.pairs import Scores
from shiftless.reading.available import available

POINTS = np.full(20, 50)


def made(look: str, i: int, key: tuple[int, str], rng: np.random.Generator) -> Result:
    """A configuration whose worth falls with its latent shift, and whose colour shift is chance."""
    shift = 0.1 + 0.01 * i
    hits = np.clip(np.round(POINTS * (0.9 - shift)) + rng.integers(0, 2, 20), 0, 50).astype(int)
    scores = Scores(hits, hits, POINTS)
    shifts = {
        "latent": shift + 0.001 * rng.random(6),
        "colour": rng.random(6),
        HEADLINE: shift + 0.002 * rng.random(6),
        TRUTH: shift + 0.001 * np.arange(6),
    }
    return Result(key, look, shifts, Downstream(scores, 0.5 - shift, (0.5 - shift, 0.5 - shift)))


@pytest.fixture(scope="module")
def results():
    rng = np.random.default_rng(0)
    keys = [(t, name) for t in TIMESTEPS[:3] for name in TECHNIQUES]
    return [made(look, i, key, rng) for look in ("photo", "embroidery") for i, key in enumerate(keys)]


def row(rows, method, metric):
    return next(one for one in rows if (one.method, one.metric) == (method, metric))


def test_what_decides_ranks_perfectly_and_chance_does_not(results):
    rows = correlations(results)
    for half in ("all", "choosing", "held-out"):
        for end in ("", ", at fixed noise"):
            assert row(rows, f"{half}: latent", f"with {PCK}{end}").value < -0.8
            assert row(rows, f"{half}: latent", f"with {MIOU}{end}").value < -0.95
            assert row(rows, f"{half}: latent", f"with {TRUTH}{end}").value > 0.95
        assert abs(row(rows, f"{half}: colour", f"with {PCK}").value) < 0.5
        assert row(rows, f"{half}: the timestep alone", f"with {PCK}, at fixed noise").value == 0
    value = row(rows, "held-out: latent", f"with {PCK}")
    assert value.ci95[0] <= value.value <= value.ci95[1]
    assert chosen(rows) in ("latent", HEADLINE)


def test_the_held_out_half_has_no_say_in_the_choice(results):
    _, held_out = halves(sorted({one.key for one in results}))
    rng = np.random.default_rng(1)
    bent = [made(one.look, int(rng.integers(0, 30)), one.key, rng) if one.key in held_out else one for one in results]
    assert chosen(correlations(results)) == chosen(correlations(bent))


def test_pictures_and_pairs_that_are_held_out_have_no_say_either(results):
    """Whatever the other half of pictures and pairs holds, the choosing half's rows stay; held-out rows move."""

    def bend(one: Result) -> Result:
        shifts = {name: values.copy() for name, values in one.shifts.items()}
        for values in shifts.values():
            values[1::2] = values[1::2].max() + 1 - values[1::2]
        hits = one.worth.matches.bbox.copy()
        hits[half_of(np.arange(len(hits))) == 1] = 7
        worth = Downstream(Scores(hits, hits, POINTS), one.worth.miou, (one.worth.mious[0], 0.1))
        return Result(one.key, one.look, shifts, worth)

    before, after = correlations(results), correlations([bend(one) for one in results])
    pairs = "PCK on half the pairs"  # which compares the two halves of the pairs
    assert [r for r in before if r.method.startswith("choosing") and pairs not in r.method] == [
        r for r in after if r.method.startswith("choosing") and pairs not in r.method
    ]
    held_out = [[r for r in rows if r.method.startswith("held-out: latent")] for rows in (before, after)]
    assert held_out[0] != held_out[1]


def test_half_of_the_pairs_face_opposite_ways_in_each_half():
    drawn = datasets.pairs("val", 60)
    opposite = np.array([p.source.facing != p.target.facing for p in drawn])
    for half in (0, 1):
        rows = half_of(np.arange(60)) == half
        assert opposite[rows].mean() == pytest.approx(0.5, abs=0.1)
        assert len({drawn[i].source.kind for i in np.flatnonzero(rows)}) == 15


def test_the_headline_is_the_cheapest_of_the_best_by_hand():
    totals = {"colour": -1.30, f"scales{FINISHED}": -1.33, "edges": -1.27, "structure": -1.285, "oracle: parts": -1.5}
    assert cheapest_of_the_best(totals, tie=0.0) == f"scales{FINISHED}"  # the least sum; the oracle is not blind
    assert cheapest_of_the_best(totals, tie=0.03) == "colour"  # one step before the full denoising
    assert cheapest_of_the_best(totals) == "structure"  # of all within 0.05: the earliest of the list
    assert cheapest_of_the_best({**totals, "latent": -1.2799}) == "structure"  # just out of reach
    assert cheapest_of_the_best({**totals, "latent": -1.2801}) == "latent"  # needs no decoding
    assert set(CHEAPEST) == {measure.name for measure in MEASURES} - {PERCEPTUAL}  # none is left out of the choice


def test_every_configuration_is_written_with_what_it_saves_and_gains(results):
    rows = rows_of(results)
    name = f"photo t={TIMESTEPS[0]} {TECHNIQUES[3]}"
    metrics = {one.metric for one in rows if one.method == name}
    assert {PCK, MIOU, "latent", "saved, latent", f"gain, {PCK}"} <= metrics
    saved = row(rows, name, "saved, latent").value
    assert saved == pytest.approx(float(results[0].shifts["latent"].mean() - results[3].shifts["latent"].mean()))
    assert not any(one.metric.startswith("saved") for one in rows if one.method.endswith(TECHNIQUES[0]))


def test_half_of_the_pairs_against_the_other_by_hand():
    scores = Scores(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 4]), np.array([4, 4, 4, 4]))
    assert halves_of_pairs(scores) == (3 / 8, 7 / 8)


def test_a_small_run_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr("miniworld.tables.audit.ADVISED", ((500,),))
    monkeypatch.setattr("miniworld.tables.audit.FINISH", 2)
    model = shiftless.load("mini", device="cpu")
    answer = run(model, looks=("photo",), timesteps=(300,), pictures=2, pairs=4, progress=False)
    written = json.loads(Path(answer.write(tmp_path / "a.json")).read_text(encoding="utf-8"))
    methods = {one["method"] for one in written["rows"]}
    assert {f"held-out: {HEADLINE}", f"choosing: {HEADLINE}", f"all: {TRUTH}", "photo t=300 captions"} <= methods
    at_hand = available(model, configurations("photo", (300,)))
    assert [one.key for one in answer.results] == list(at_hand)
    assert {name for _, name in at_hand} >= set(TECHNIQUES) - {"image prompt"}
    assert {"usual, t=500, photo", "suggested within 4 calls, t=500, photo"} <= methods
    assert {row.method.partition(":")[0] for row in answer.summary().rows} == {"all", "held-out"}
    by_name = {one.key[1]: one for one in answer.results}
    assert by_name["edges"].shifts["latent"].mean() < by_name["plain"].shifts["latent"].mean()
    assert all(np.isfinite(values).all() for one in answer.results for values in one.shifts.values())
    answer.draw(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000
