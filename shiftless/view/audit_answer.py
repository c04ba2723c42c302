"""The audit's answer in sentences: which recipe keeps the content, how much it saves, and what is not clear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shiftless.auditing.compared import is_bare
from shiftless.auditing.measures import FINISHED, measure_named, worded
from shiftless.auditing.suggest import MEASURE
from shiftless.metrics.bootstrap import Difference, difference
from shiftless.metrics.multiplicity import multiplicity

if TYPE_CHECKING:
    from shiftless.auditing.audit import Audit
    from shiftless.auditing.suggest import Suggestion
    from shiftless.recipe import Recipe

_FEW = 10  # photos; a bootstrap of fewer gives intervals that are too narrow
_NAMED = 6  # recipes in a sentence
_GROUPS = 3  # most groups of recipes with one baseline that are described in sentences
_MANY = 3  # recipes; above this a sentence warns that the best was picked on the same photos


def answer(audit: Audit) -> str:
    """Say which recipe keeps the content best, at each noise, and how much it saves against the bare reading there."""
    best, what, on = audit.ranked()[0], worded(audit.headline), photos(len(audit.names))
    groups = _compared(audit)
    if not groups:
        name, least = _name(audit, best), f"{headline_score(audit, best)}, on {on}"
        if len(audit.recipes) == 1:
            return f"Only one recipe was audited, {name}: its {what} is {least}. There is nothing to compare it with."
        return f"Nothing steers any of these readings. Of them, {name} has the least {what}: {least}."
    sentences = [_answer_of(audit, group, on) for group in described_groups(audit)]
    if len(groups) > _GROUPS:
        sentences.append(f"The tables tell of {len(groups) - _GROUPS} timesteps more, where recipes differ less.")
    return " ".join(sentences)


def _compared(audit: Audit) -> list[list[int]]:
    """The groups of recipes that hold a steered one, compared with a bare reading."""
    return [group for group in audit.groups() if set(group) & set(techniques(audit))]


def described_groups(audit: Audit) -> list[list[int]]:
    """Return the groups of recipes that are described in sentences: at most three, where recipes differ most."""
    means = audit.scores[audit.headline].mean(0)
    groups = _compared(audit)
    most = sorted(groups, key=lambda group: means[group[0]] - means[group[-1]])[:_GROUPS]
    return [group for group in groups if group in most]


def _answer_of(audit: Audit, group: Sequence[int], on: str) -> str:
    """Say which of the recipes with one bare reading keeps the content best."""
    best, bare = group[0], audit.baselines[group[0]]
    if best in techniques(audit):
        amount = f"{_amount(audit, best)} than {_name(audit, bare)}, bare at the same noise, on {on}."
        sure = len(audit.names) == 1 or audit.saved(best).clear
        chance = "" if sure else " The interval holds zero, so this may be chance."
        return f"{_name(audit, best)} keeps the content best: {amount}{chance}"
    least = f"{worded(audit.headline)} {headline_score(audit, best)}, on {on}. No technique at that noise has less."
    return f"The bare reading {_name(audit, best)} keeps the content best: {least}"


def advised(audit: Audit, advice: Suggestion) -> str:
    """Say what the ranking and the advice answer each, and whether they name the same readings."""
    winners = {_reading(audit.recipes[group[0]]) for group in audit.groups()}
    same = {_reading(recipe) for recipe in advice.recipes} <= winners
    return (
        f"The ranking asks which single reading keeps the content best at the same noise, by {worded(audit.headline)}. "
        f"The advice asks another question: which readings, joined within {advice.limit:g} denoiser calls a photo, "
        f"keep their features nearest to those of a nearly clean photo, by {worded(MEASURE)}, at as much noise as that "
        f"affords. Here they name {'the same' if same else 'different readings, which is no contradiction'}."
    )


def doubts(audit: Audit) -> list[str]:
    """Say which other differences are clear and which are not: a sentence each."""
    n, what = len(audit.names), worded(audit.headline)
    if n == 1:
        alone = "One photo tells nothing of others: the intervals here have no width, and no difference is sure."
        return [*audit.reached(), alone]
    steered = techniques(audit)
    saved = {k: audit.saved(k) for k in steered}
    lines = audit.reached()
    for about, group in {
        f"Clearly less {what} than the bare reading at the same noise": [k for k in steered if saved[k].low > 0],
        "Clearly more": [k for k in steered if saved[k].high < 0],
        "Not clear on these photos": [k for k in steered if saved[k].low <= 0 <= saved[k].high],
    }.items():
        if group:
            lines.append(f"{about}: {_names(audit, group)}.")
    if len(steered) > 1:
        lines.append(f"Techniques against their bare readings, {multiplicity(list(saved.values()))}.")
    scores = audit.scores[audit.headline]
    for best, *others in described_groups(audit) or audit.groups()[:1]:
        rest = [k for k in others if not difference(scores[:, k], scores[:, best]).clear]
        if rest:
            lines.append(f"Not told apart from {_name(audit, best)} on these photos: {_names(audit, rest)}.")
        lines += _by_other_measures(audit, best)
    if len(audit.recipes) > _MANY:
        lines.append(
            f"The best of {len(audit.recipes)} recipes was picked on the photos that it is judged by: expect a little "
            "less of it on others."
        )
    if n < _FEW:
        lines.append(f"With {photos(n)} the intervals are rough, and rather too narrow than too wide.")
    if len({recipe.timestep for recipe in audit.recipes}) > 1:
        lines.append(
            "Recipes are compared at the same noise: with less noise there is less to make up, whatever steers. Which "
            "noise is best for a task this does not tell; that is to be tested on the task."
        )
    return lines


def techniques(audit: Audit) -> list[int]:
    """Return the recipes that something steers, least shift first."""
    return [k for k in audit.ranked() if not is_bare(audit.recipes[k])]


def saving(saved: Difference, what: str = "shift") -> str:
    """Say how much less or more shift a recipe has, with the interval.

    >>> saving(Difference(0.31, 0.2, 0.4)), saving(Difference(-0.1, -0.2, 0.05), "latent shift")
    ('31% less shift (95% interval: 20% to 40%)', '10% more latent shift (95% interval: -5% to 20%)')
    """
    low, high = (saved.low, saved.high) if saved.value >= 0 else (-saved.high, -saved.low)
    return f"{less(saved.value, what)} (95% interval: {_percent(low)} to {_percent(high)})"


def less(share: float, what: str = "shift") -> str:
    """Say how much less or more without an interval.

    >>> less(0.25), less(-0.1, "latent shift")
    ('25% less shift', '10% more latent shift')
    """
    return f"{_percent(abs(share))} {'less' if share >= 0 else 'more'} {what}"


def headline_score(audit: Audit, k: int) -> str:
    """Say a recipe's mean headline score, with its interval where there is one."""
    value, form = audit.value(k), f".{measure_named(audit.headline).digits}f"
    if len(audit.names) == 1:
        return f"{value.value:{form}}"
    return f"{value.value:{form}} ({value.low:{form}} to {value.high:{form}})"


def photos(n: int) -> str:
    """Count photos in words.

    >>> photos(1), photos(16)
    ('one photo', '16 photos')
    """
    return "one photo" if n == 1 else f"{n} photos"


def _amount(audit: Audit, k: int) -> str:
    saved = audit.saved(k)
    what = worded(audit.headline)
    return saving(saved, what) if len(audit.names) > 1 else less(saved.value, what)


def _reading(recipe: Recipe) -> Recipe:
    """The recipe without its label and seed."""
    return recipe.but(label="", seed=0)


def _name(audit: Audit, k: int) -> str:
    return f"\u201c{audit.recipes[k].label}\u201d"  # labels have commas of their own


def _names(audit: Audit, recipes: Sequence[int]) -> str:
    more = len(recipes) - _NAMED
    names = [_name(audit, k) for k in recipes[: _NAMED if more > 1 else None]]
    return _listed([*names, *([f"{more} more"] if more > 1 else [])])


def _by_other_measures(audit: Audit, best: int) -> list[str]:
    """Whether the other measures say the same of the best recipe, if something steers it."""
    others = [m for m in audit.measures if m != audit.headline and FINISHED not in m]
    if best not in techniques(audit) or not others:
        return []
    saved = {m: audit.saved(best, m) for m in others}
    by_outcome = {
        "less shift": [m for m in others if saved[m].low > 0],
        "more shift": [m for m in others if saved[m].high < 0],
        "no clear difference": [m for m in others if saved[m].low <= 0 <= saved[m].high],
    }
    parts = [f"{what} ({_listed(names)})" for what, names in by_outcome.items() if names]
    return [f"What other measures say of {_name(audit, best)}, against its bare reading: {'; '.join(parts)}."]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%".replace("-0%", "0%")
