"""The chapters on the method: what steering does to a reading, and every method in one table."""

from __future__ import annotations

from miniworld.demo.chapters import Plan
from miniworld.tables.attention import EVEN, METRICS, Measured, measure
from miniworld.tables.attention_picture import attention_picture
from miniworld.tables.techniques import ALL, BASELINE, CONTROL, LORA, OTHER, PROMPT, WORD, techniques
from shiftless.backbones.base import Backbone
from shiftless.bench.table import Table
from shiftless.metrics.bootstrap import Difference
from shiftless.view.page import Bars, Chapter, draw_figure

_ATTENTION, _, _ON_HORSE, _ON_RIDER = METRICS
_BOXES = "PCK@0.1 bbox"
_PAIRS = 12  # the whole demo takes less than three minutes on two cores without bf16
_HOW = {
    PROMPT: "a detailed caption of the picture, written by a captioner (fine prompt)",
    CONTROL: "the picture's edges (ControlNet)",
    LORA: "weights trained on other pictures of the same look (LoRA)",
}


def takes_steering(plan: Plan) -> bool:
    """Whether the chapter on steering can be written: drawn pictures, and a model with a technique at hand."""
    return plan.drawn and len(techniques(plan.model, plan.recipe)[0]) > 1


def steering(plan: Plan) -> Chapter:
    """Show what steering does on one unselected picture, and measure it on others."""
    shares = measure(plan.model, plan.recipe, n=3 if plan.quick else 16, controls=False)
    table = shares.table("mini-attention", plan.model.spec.name)
    table.write(plan.out / "attention.json")
    shown = attention_picture(plan.model, plan.recipe)
    at_hand = [how for name, how in _HOW.items() if name in shown.shares]
    text = [
        f"Information about the picture leaves the model less to fill in. It can be given: {'; '.join(at_hand)}. "
        "Nothing is trained for the picture itself, and the layers that are read stay the same.",
        f'Here the prompt says "{WORD}", and on the {WORD} sits a rider, whom a plain prompt does not mention. '
        f'The last row shows where the word acts: how far the features move when the prompt says "{OTHER}" instead.',
    ]
    caption = (
        "Each column is a technique. The picture is the first of its seeds, not a selected one. Look at the rider in "
        "the last row."
    )
    title = "Steering: prompt, ControlNet and LoRA"
    chapter = Chapter(title, text, f'how much of "{WORD}" acts on the rider, from left to right')
    chapter.figures.append(draw_figure(plan.out, "method.png", caption, shown.draw))
    for metric, about in ((_ON_HORSE, WORD), (_ON_RIDER, "rider")):
        chapter.bars.append(_bars(table, metric, f'Share of where "{WORD}" acts that lies on the {about}, percent'))
    chapter.after.append(_summary(shares))
    return chapter


def takes_comparison(plan: Plan) -> bool:
    """Whether the table of methods can be written: it needs drawn pictures, and heads that only the mini has."""
    return plan.drawn and _has_heads(plan.model)


def comparison(plan: Plan) -> Chapter:
    """Score every method on the world's pairs in the look of training."""
    from miniworld.tables.correspondence import run as compare

    few = 6 if plan.quick else _PAIRS
    table = compare(plan.model, quick=True, n=few, looks=("photo",), progress=not plan.quick)
    table.write(plan.out / "correspondence.json")
    text = [
        "Several readings of one picture can be merged. GATE reads a picture in several ways, and a small trained head "
        f"weighs them, channel by channel. Here is every method on {few} test pairs; shiftless bench "
        "mini-correspondence has all 360, and as many in a look that the denoiser was not trained on. Below the bars "
        "stands which differences from the baseline are sure.",
    ]
    chapter = Chapter("The method, in a table", text, "GATE's bars against the baseline's")
    metrics = dict.fromkeys(row.metric for row in table.rows if row.metric.startswith(_BOXES))
    for metric in metrics:
        rows = [(r.method, r.value, *r.ci95, r.method.startswith("GATE")) for r in table.rows if r.metric == metric]
        chapter.bars.append(Bars(metric, rows, top=1.0))
    chapter.after += gains(table)
    chapter.after += [note for note in table.notes if "left out" in note]
    return chapter


def gains(table: Table) -> list[str]:
    """Say in a sentence for each test set which methods clearly gain over the baseline of their kind.

    Clear is a gain above zero after Holm's correction for all gains of the table.

    >>> from shiftless.bench.table import Row
    >>> gains(Table("b", "m", [Row("GATE", "gain over baseline, bbox", 0.1, (0.05, 0.15))], "here"))
    ['Sure gains over the baseline of their kind, on photo pairs (95% intervals, paired; by Holm): GATE +0.10 [+0.05,
    +0.15].']
    """
    from miniworld.tables.correspondence import GAIN

    sentences = []
    for metric in dict.fromkeys(row.metric for row in table.rows if row.metric.startswith(GAIN)):
        look = metric.removeprefix(GAIN).removeprefix(", ") or "photo"
        rows = [(row.method, Difference(row.value, *row.ci95)) for row in table.clear() if row.metric == metric]
        sure = [f"{name} {d.value:+.2f} [{d.low:+.2f}, {d.high:+.2f}]" for name, d in rows if d.value > 0]
        start = f"Sure gains over the baseline of their kind, on {look} pairs (95% intervals, paired; by Holm): "
        sentences.append(start + ("; ".join(sure) if sure else "none") + ".")
    return sentences


def _has_heads(model: Backbone) -> bool:
    from miniworld.tables.correspondence import shipped_heads

    return bool(shipped_heads(model))


def _bars(table: Table, metric: str, title: str) -> Bars:
    chosen = [row for row in table.rows if row.metric == metric]
    rows = []
    for row in chosen:
        name = "its share of the picture" if row.method == EVEN else row.method
        value, low, high = (100 * v for v in (row.value, *row.ci95))
        rows.append((name, value, low, high, row.method.startswith((BASELINE, ALL))))
    return Bars(title, rows, top=max(row[3] for row in rows) * 1.02, form="{:.1f}")


def _summary(shares: Measured) -> str:
    looked, even = (100 * float(shares.scores[name][:, 0].mean()) for name in (BASELINE, EVEN))
    sentences = [f"Counted on {len(shares.scores[EVEN])} such pictures, without selection."]
    clear = []
    for name in shares.scores:
        gain = Difference(*(100 * v for v in shares.gain(name, _ON_RIDER)))
        if name not in (EVEN, BASELINE) and gain.clear:
            clear.append(f"{name} {gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}]")
    points = "; ".join(clear) if clear else "no clear change"
    sentences.append(
        f"Clear changes of the rider's share against the baseline, in percentage points: {points} (95%, paired)."
    )
    sentences.append(
        f"Attention to the word itself {_locates(looked / even)} the {WORD} in this "
        f"model: {looked:.1f}% of it lies on the {WORD}, which takes up {even:.1f}% of the picture."
    )
    return " ".join(sentences)


def _locates(times: float) -> str:
    """Say whether a map locates a thing on which it has so many times the thing's area of its mass."""
    return "does not locate" if times < 1 else "weakly locates" if times < 2 else "locates"
