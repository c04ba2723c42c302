"""Recipes that differ in the noise are one curve, and a curve that moves is told from one that does not."""

from __future__ import annotations

import pytest

from shiftless.recipe import Recipe
from shiftless.view.audit_curves import curves_of, lines_of, moves

STEPS = (100, 300, 600)


def test_lines_hold_what_is_steered_alike_whatever_the_noise_and_the_bare_one_is_first(audit_of):
    means = {Recipe(timestep=t, control="canny", start=t + 40): 0.1 for t in STEPS}
    means |= {Recipe(timestep=t): 0.2 for t in STEPS} | {Recipe(timestep=300, prompt="auto"): 0.1}
    lines = {line.name: line.recipes for line in lines_of(audit_of(means))}
    assert next(iter(lines)) == "bare"
    assert lines == {"bare": {100: 3, 300: 4, 600: 5}, "canny": {100: 0, 300: 1, 600: 2}, "captions": {300: 6}}


def test_lines_that_would_have_one_name_are_told_apart(audit_of):
    same = {"timestep": 300, "control": "canny"}
    means = {Recipe(timestep=300): 0.3, Recipe(timestep=300, taps="up2"): 0.3}
    means |= {Recipe(**same): 0.2, Recipe(**same, start=340): 0.2, Recipe(**same, start=400): 0.2}
    names = [line.name for line in lines_of(audit_of(means))]
    assert len(set(names)) == len(names) == 5
    assert names == ["bare at up1", "bare at up2", "canny", *names[3:]]
    assert all("walked" in name for name in names[3:])


def test_curves_hold_the_scores_with_their_intervals(audit_of):
    audit = audit_of({Recipe(timestep=t): t / 1000 for t in STEPS} | {Recipe(timestep=300, prompt="auto"): 0.2})
    curves = curves_of(audit)
    assert curves["bare"][600] == audit.value(2)
    assert list(curves["bare"]) == list(STEPS)
    assert list(curves["captions"]) == [300]
    assert curves_of(audit_of({Recipe(timestep=100): 0.1, Recipe(timestep=100, prompt="auto"): 0.1})) == {}


def test_more_curves_than_can_be_told_apart_are_not_drawn(audit_of):
    means = {Recipe(timestep=t): 0.5 for t in (100, 300)}
    means |= {Recipe(timestep=t, lora=f"l{i}"): 0.4 - i / 100 for i in range(14) for t in (100, 300)}
    curves = curves_of(audit_of(means))
    assert len(curves) == 10
    assert list(curves)[:2] == ["bare", "LoRA l13"]


def test_a_technique_that_moves_the_curve_is_worth_so_much_noise(audit_of):
    means = {Recipe(timestep=t): t / 1000 for t in STEPS}
    means |= {Recipe(timestep=t, prompt="auto"): t / 2000 for t in STEPS}
    means |= {Recipe(timestep=t, lora="x"): t / 1000 * (1.5 if t > 100 else 0.9) for t in STEPS}
    captions, lora = moves(audit_of(means))
    less = "less latent shift than the bare reading at"
    assert captions.startswith(f"captions: {less} 3 of 3 timesteps, clearly at 3; from 50%")
    assert captions.endswith("At t=600 it has as much latent shift as a bare reading would at about t=300.")
    assert lora.startswith(f"LoRA x: {less} 1 of 3 timesteps, clearly at 1; from 50% more")
    assert "would at about" not in lora


@pytest.mark.parametrize("n", [1, 12])
def test_clear_is_said_only_where_it_can_be(audit_of, n):
    means = {Recipe(timestep=t): 0.2 for t in STEPS} | {Recipe(timestep=t, prompt="auto"): 0.1 for t in STEPS}
    assert ("clearly" in moves(audit_of(means, n=n))[0]) == (n > 1)
