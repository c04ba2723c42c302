"""Conditions of single images join into one for a batch."""

from __future__ import annotations

import torch

from shiftless.conditions.condition import IMAGE_PROMPT, Condition, Steer, image_embeds, join


def test_join_keeps_embeds_words_extras_and_maps_together():
    net = object()
    ones = [
        Condition(
            torch.full((1, 2, 3), float(i)),
            ((f"word {i}",),),
            {"pooled": torch.full((1, 4), float(i)), "size": torch.tensor([[i]])},
            (Steer(net, torch.full((1, 3, 8, 8), float(i)), 0.5),),
        )
        for i in (2, 1)
    ]
    both = join(ones)
    assert both.embeds[:, 0, 0].tolist() == both.extra["pooled"][:, 0].tolist() == [2.0, 1.0]
    assert both.words == (("word 2",), ("word 1",))
    assert both.extra["size"].tolist() == [[2], [1]]
    assert both.steers[0].net is net
    assert both.steers[0].scale == 0.5
    assert both.steers[0].image[:, 0, 0, 0].tolist() == [2.0, 1.0]


def test_join_of_nothing_to_say():
    assert join([Condition(), Condition()]).embeds is None


def test_more_than_ten_image_prompts_keep_their_order():
    extra = {f"{IMAGE_PROMPT}{i}": torch.full((1, 1, 2), float(i)) for i in range(12)}
    assert [one.mean().item() for one in image_embeds(Condition(extra=extra))] == list(range(12))
