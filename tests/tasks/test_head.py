from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from shiftless.amalgamate.layout import Layout
from shiftless.errors import BadInput
from shiftless.recipe import Recipe
from shiftless.tasks.correspondence import match
from shiftless.tasks.head import AMALGAMATORS, CorrespondenceHead

LAYOUT = Layout(2, (("up1", 8),))


@pytest.mark.parametrize("name", ["aggregation_network_w1", "aggregation_network_w2"])
def test_the_head_gives_what_the_reference_gives(goldens, name):
    """Its several assigners are several heads here, side by side; its convolutions are one and the same."""
    golden = load_file(goldens / f"{name}.safetensors")
    readings, attention = golden["x"].transpose(0, 1), golden["attn"]
    layout = Layout(3, (("x", readings.shape[2]),), ((("attn", attention.shape[1]),),))
    for conv, train, key in ((False, False, "eval_nn"), (True, False, "eval_conv"), (True, True, "train_bn_conv")):
        parts = []
        for i in range(int(name[-1])):
            head = CorrespondenceHead(layout, conv=conv, options={"dropout": 0.0, "norm": "reading"}).train(train)
            prefix = f"sd.weight_assigner.{i}."
            state = {k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)}
            head.merge.assigner.load_state_dict(state)
            if conv:
                head.out.load_state_dict({"weight": golden[f"sd.out.{i}.weight"]})
            parts.append(head(readings, attention))
        torch.testing.assert_close(torch.cat(parts, 1), golden[key], atol=1e-5, rtol=0)


def test_a_convolution_begins_as_the_identity():
    layout = Layout(2, (("up1", 4),), ((("map", 3),),))
    plain = CorrespondenceHead(layout, "mean")
    readings, attention = torch.randn(2, 1, 4, 5, 6), torch.randn(1, 3, 5, 6)
    expected = torch.cat([readings.mean(0), attention], 1)
    torch.testing.assert_close(plain(readings, attention), expected)
    torch.testing.assert_close(CorrespondenceHead(layout, "mean", conv=True)(readings, attention), expected)


@pytest.mark.parametrize("amalgamator", AMALGAMATORS)
def test_a_head_matches_by_the_common_code_and_comes_back_the_same(amalgamator, tmp_path, known):
    torch.manual_seed(0)
    options = {"hyper": {"width": 32}}.get(amalgamator, {})
    head = CorrespondenceHead(LAYOUT, amalgamator, conv=True, options=options, recipes=known.recipes)
    clean = known.bucket(0, noise=0.0), known.bucket(0, move=2, noise=0.0)
    head.train()
    a, b = (head.merge_bucket(one) for one in clean)
    assert head.training  # as it was
    assert list(a) == [amalgamator]
    assert (a.frame, a.name, a.taps[amalgamator].stride) == (clean[0][0].frame, "p0", 8)
    result = match(a, b, [(20, 36), (28, 20)], refine="cell").points
    assert result.tolist() == [[36, 36], [44, 20]]
    head.save_pretrained(tmp_path)
    back = CorrespondenceHead.from_pretrained(tmp_path)
    assert back.recipes == known.recipes
    assert back.layout == LAYOUT
    assert torch.equal(back.merge_bucket(clean[0])[amalgamator], a[amalgamator])


def test_apply_is_still_that_of_any_module():
    head, visited = CorrespondenceHead(LAYOUT), []
    assert head.apply(lambda module: visited.append(type(module).__name__)) is head
    assert "Gate" in visited


def test_heads_that_cannot_be():
    with pytest.raises(BadInput, match="gate, gate-pixel, hyper"):
        CorrespondenceHead(LAYOUT, "median")
    with pytest.raises(BadInput, match=r"'gate'.*depth"):
        CorrespondenceHead(LAYOUT, "gate", options={"depth": 2})
    layout = Layout(2, (("up1", 4),), ((("map", 3),),))
    with pytest.raises(BadInput, match="give the attention maps"):
        CorrespondenceHead(layout)(torch.randn(2, 1, 4, 5, 6))
    assert CorrespondenceHead(LAYOUT, recipes=[Recipe()]).recipes == (Recipe(),)


def test_merged_maps_of_two_models_are_not_matched():
    import shiftless

    first, other = (
        shiftless.extract(name, np.zeros((64, 64, 3), np.uint8), [Recipe(taps=("up0",)), Recipe(taps=("up0",), seed=1)])
        for name in ("twin:sd15", "twin:sd21")
    )
    merged = [CorrespondenceHead(Layout.of(bucket), "mean").merge_bucket(bucket) for bucket in (first, other)]
    with pytest.raises(BadInput, match="twin:sd21"):
        shiftless.match(*merged, points=[(20, 20)])
