"""The answer says what the numbers say, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from shiftless.auditing.suggest import Suggestion
from shiftless.metrics.bootstrap import Difference
from shiftless.recipe import Recipe
from shiftless.view.audit_answer import advised, answer, doubts, techniques

BARE, CAPTION = Recipe(timestep=300, label="bare"), Recipe(timestep=300, prompt="auto", label="caption")
EDGES = Recipe(timestep=300, control="canny", label="edges")


def test_a_technique_that_helps_is_named_with_what_it_saves_and_against_what(audit_of):
    message = answer(audit_of({BARE: 0.4, CAPTION: 0.3, EDGES: 0.1}))
    assert message == (
        "“edges” keeps the content best: 75% less latent shift (95% interval: 75% to 75%) than “bare”, bare at the "
        "same noise, on 12 photos."
    )


def test_a_gain_that_may_be_chance_is_called_so(audit_of):
    audit = audit_of({BARE: 0.4, CAPTION: 0.399}, noise=0.1)
    audit.scores["latent"][:, 1] += 0.399 - audit.scores["latent"][:, 1].mean()
    audit.scores["latent"][:, 0] += 0.4 - audit.scores["latent"][:, 0].mean()
    assert "may be chance" in answer(audit)
    assert any(line == "Not clear on these photos: “caption”." for line in doubts(audit))
    assert any(line.startswith("Not told apart from “caption”") and "“bare”" in line for line in doubts(audit))


def test_when_nothing_helps_the_bare_reading_wins(audit_of):
    audit = audit_of({BARE: 0.4, CAPTION: 0.5})
    assert answer(audit).startswith("The bare reading “bare” keeps the content best: latent shift 0.400")
    assert "No technique at that noise has less." in answer(audit)
    assert "Clearly more: “caption”." in doubts(audit)


def test_less_noise_is_not_taken_for_a_technique(audit_of):
    calm = Recipe(timestep=20, label="calm")
    audit = audit_of({calm: 0.1, BARE: 0.4, CAPTION: 0.2})
    assert answer(audit) == (
        "“caption” keeps the content best: 50% less latent shift (95% interval: 50% to 50%) than “bare”, bare at the "
        "same noise, on 12 photos."
    )
    assert any("compared at the same noise" in line and "tested on the task" in line for line in doubts(audit))


def test_each_noise_has_a_winner_of_its_own(audit_of):
    calm = Recipe(timestep=20, label="calm"), Recipe(timestep=20, control="canny", label="calm edges")
    audit = audit_of({calm[0]: 0.1, calm[1]: 0.2, BARE: 0.4, CAPTION: 0.2, EDGES: 0.3})
    first, second = answer(audit).split(" No technique at that noise has less. ")
    assert first.startswith("The bare reading “calm” keeps the content best")
    assert second.startswith("“caption” keeps the content best: 50% less latent shift")
    many = {Recipe(timestep=t): t / 1000 for t in range(100, 600, 100)}
    many |= {Recipe(timestep=t, prompt="auto"): t / 2000 for t in range(100, 600, 100)}
    message = answer(audit_of(many))
    assert [f"“t={t} captions” keeps" in message for t in range(100, 600, 100)] == [False, False, True, True, True]
    assert message.endswith("The tables tell of 2 timesteps more, where recipes differ less.")


def test_many_comparisons_are_said_to_be_many(audit_of):
    audit = audit_of({BARE: 0.4, CAPTION: 0.3, EDGES: 0.1})
    line = next(line for line in doubts(audit) if "by chance" in line)
    assert line.startswith("Techniques against their bare readings, 2 gains: 2 of their 95% intervals leave zero out")
    assert "(0.1 would by chance" in line
    assert "after Holm's correction for all 2" in line
    assert not any("Holm" in line for line in doubts(audit_of({BARE: 0.4, CAPTION: 0.3})))


@pytest.mark.parametrize(("taken", "agree"), [(EDGES.but(seed=1, label="x"), True), (CAPTION, False)])
def test_ranking_and_advice_are_said_to_answer_different_questions(audit_of, taken, agree):
    audit = audit_of({BARE: 0.4, CAPTION: 0.3, EDGES: 0.1})
    some = Difference(0.1, 0.05, 0.2)
    advice = Suggestion((taken,), BARE, 4.0, some, some, some, 1.0, (0.1,), 6, 6)
    message = advised(audit, advice)
    assert "by latent shift" in message
    assert "by features shift" in message
    assert "4 denoiser calls" in message
    assert ("Here they name the same." in message) == agree
    assert ("different readings, which is no contradiction" in message) != agree
    assert "features shift 0.100 [0.050, 0.200]" in " ".join(advice.lines())


def test_one_photo_and_one_recipe_are_not_made_more_of(audit_of):
    one = audit_of({BARE: 0.4, CAPTION: 0.3}, n=1)
    assert "25% less latent shift than" in answer(one)
    assert "interval" not in answer(one)
    assert doubts(one) == [
        "One photo tells nothing of others: the intervals here have no width, and no difference is sure."
    ]
    alone = answer(audit_of({BARE: 0.4}))
    assert "Only one recipe" in alone
    assert "0.400 (0.3" in alone
    assert "Nothing steers" in answer(audit_of({BARE: 0.4, Recipe(timestep=100, label="less"): 0.3}))


def test_a_second_draw_of_the_bare_reading_is_no_technique(audit_of):
    audit = audit_of({BARE: 0.4, BARE.but(seed=1, label="again"): 0.39})
    assert techniques(audit) == []


def test_few_photos_and_many_recipes_are_warned_of(audit_of):
    many = {BARE: 0.4} | {Recipe(timestep=300, lora=f"l{i}", label=f"lora {i}"): 0.3 - i / 100 for i in range(9)}
    lines = doubts(audit_of(many, n=4))
    assert any("With 4 photos the intervals are rough" in line for line in lines)
    assert any("best of 10 recipes" in line for line in lines)
    named = next(line for line in lines if line.startswith("Clearly less"))
    assert "“lora 8”" in named
    assert named.endswith("and 3 more.")
    assert not any("rough" in line for line in doubts(audit_of(many, n=12)))


def test_measures_that_disagree_are_told(audit_of):
    audit = audit_of({BARE: 0.4, EDGES: 0.1}, others=("structure", "colour"))
    audit.scores["colour"] = audit.scores["colour"][:, ::-1]
    line = next(line for line in doubts(audit) if line.startswith("What other measures say"))
    assert line.endswith("less shift (structure); more shift (colour).")
    assert np.isclose(audit.saved(1, "colour").value, -3)
