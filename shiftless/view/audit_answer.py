"""The audit's answer in sentences: which recipe keeps the content, how much it saves, and what is not clear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shiftless.auditing.compared import is_bare
from shiftless.auditing.measures import FINISHED, measure_named
from shiftless.metrics.bootstrap import Difference, difference

if TYPE_CHECKING:
    from shiftless.auditing.audit import Audit

_FEW = 10  # photos; a bootstrap of fewer gives intervals that are too narrow
_NAMED = 6  # recipes in a sentence
_MANY = 3  # recipes; the best of so many looks better than it is


def answer(audit: Audit) -> str:
    """Say which recipe keeps the content best, and how much it saves against the bare reading at its noise."""
    best, steered = audit.ranked()[0], techniques(audit)
    name, on = _name(audit, best), photos(len(audit.names))
    if not steered:
        shift = f"its shift is {told(audit, best)}, by {audit.headline}, on {on}"
        if len(audit.recipes) == 1:
            return f"Only one recipe was audited, {name}: {shift}. There is nothing to compare it with."
        return f"Nothing steers any of these readings. Of them, {name} shifts least: {shift}."
    if best in steered:
        saved, bare = audit.saved(best), _name(audit, audit.baselines[best])
        sure = "" if len(audit.names) == 1 or saved.clear else " The interval holds zero, so this may be chance."
        return (
            f"{name} keeps the content best: {_amount(audit, best)} than {bare}, bare at the same noise, on {on}.{sure}"
        )
    text = f"The bare reading {name} shifts least: {told(audit, best)} by {audit.headline}, on {on}."
    if any(audit.baselines[k] == audit.baselines[best] for k in steered):
        text += " No technique at that noise keeps more of the content."
    others = [k for k in steered if audit.baselines[k] != audit.baselines[best] and audit.saved(k).value > 0]
    if others:
        most = max(others, key=lambda k: audit.saved(k).value)
        bare = _name(audit, audit.baselines[most])
        text += f" Of the techniques, {_name(audit, most)} saves most: {_amount(audit, most)} than {bare}, bare."
    return text


def doubts(audit: Audit) -> list[str]:
    """Say what else is clear, and what is not: a sentence each."""
    n = len(audit.names)
    if n == 1:
        alone = "One photo tells nothing of others: the intervals here have no width, and no difference is sure."
        return [*audit.reached(), alone]
    steered = techniques(audit)
    saved = {k: audit.saved(k) for k in steered}
    lines = audit.reached()
    for about, found in {
        "Clearly less shift than the bare reading at the same noise": [k for k in steered if saved[k].low > 0],
        "Clearly more": [k for k in steered if saved[k].high < 0],
        "Not clear on these photos": [k for k in steered if saved[k].low <= 0 <= saved[k].high],
    }.items():
        if found:
            lines.append(f"{about}: {_names(audit, found)}.")
    best, scores = audit.ranked()[0], audit.scores[audit.headline]
    rest = [k for k in audit.ranked()[1:] if not difference(scores[:, k], scores[:, best]).clear]
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
            "Compare recipes at the same noise: with less noise there is less to make up, whatever steers. But with "
            "next to none the features lose their meaning, so the least shift is not always the best reading."
        )
    return lines


def techniques(audit: Audit) -> list[int]:
    """Return the recipes that something steers, least shift first."""
    return [k for k in audit.ranked() if not is_bare(audit.recipes[k])]


def saving(saved: Difference) -> str:
    """Say how much less or more a recipe shifts, with the interval.

    >>> saving(Difference(0.31, 0.2, 0.4)), saving(Difference(-0.1, -0.2, 0.05))
    ('31% less shift (95% interval: 20% to 40%)', '10% more shift (95% interval: -5% to 20%)')
    """
    low, high = (saved.low, saved.high) if saved.value >= 0 else (-saved.high, -saved.low)
    return f"{less(saved.value)} (95% interval: {_percent(low)} to {_percent(high)})"


def less(share: float) -> str:
    """Say how much less or more without an interval.

    >>> less(0.25)
    '25% less shift'
    """
    return f"{_percent(abs(share))} {'less' if share >= 0 else 'more'} shift"


def told(audit: Audit, k: int) -> str:
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
    return saving(saved) if len(audit.names) > 1 else less(saved.value)


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
    said = {
        "less shift": [m for m in others if saved[m].low > 0],
        "more shift": [m for m in others if saved[m].high < 0],
        "no clear difference": [m for m in others if saved[m].low <= 0 <= saved[m].high],
    }
    parts = [f"{what} ({_listed(names)})" for what, names in said.items() if names]
    return [f"What other measures say of {_name(audit, best)}, against its bare reading: {'; '.join(parts)}."]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%".replace("-0%", "0%")
