from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from shiftless.amalgamate.gate import Gate, sparsity
from shiftless.errors import BadInput

TOLERANCE = {"atol": 1e-5, "rtol": 0.0}


def gates(golden: dict[str, torch.Tensor], dropout: float = 0.5, name: str = "weight_assigner") -> list[Gate]:
    """The reference's assigners, one a weight, with its own numbers of the layers."""
    level = "image" if any(key.endswith("6.weight") for key in golden if name in key) else "pixel"
    result: list[Gate] = []
    while states := {
        key.removeprefix(prefix): value.float() if value.is_floating_point() else value
        for prefix in [f"sd.{name}.{len(result)}."]
        for key, value in golden.items()
        if key.startswith(prefix)
    }:
        channels = states["0.weight"].shape[1]
        gate = Gate(channels, level=level, dropout=dropout, norm="reading").eval()
        (gate.assigner if level == "image" else gate.pixel_assigner).load_state_dict(states)
        result.append(gate)
    return result


@pytest.mark.parametrize("name", ["aggregation_network_w1", "aggregation_network_w2"])
def test_image_level_gives_what_the_reference_gives(goldens, name):
    golden = load_file(goldens / f"{name}.safetensors")
    readings = golden["x"].transpose(0, 1)
    ours = gates(golden)
    assert len(ours) == int(name[-1])
    weights = torch.cat([gate.weights(readings) for gate in ours], 2)
    torch.testing.assert_close(weights.transpose(0, 1), golden["eval_softmax_weights"], **TOLERANCE)
    torch.testing.assert_close(sparsity(weights)[None], golden["eval_sparsity_nn"], **TOLERANCE)
    joined = torch.cat([part for gate in ours for part in (gate(readings), golden["attn"])], 1)
    torch.testing.assert_close(joined, golden["eval_nn"], **TOLERANCE)
    assert golden["sd.out.0.weight"].equal(golden.get("sd.out.1.weight", golden["sd.out.0.weight"]))  # one shared layer
    for mode, key in ((False, "eval_conv"), (True, "train_bn_conv")):
        maps = [gate.train(mode)(readings) for gate in gates(golden, dropout=0.0)]
        conv = [F.conv2d(torch.cat([m, golden["attn"]], 1), golden["sd.out.0.weight"], padding=1) for m in maps]
        torch.testing.assert_close(torch.cat(conv, 1), golden[key], **TOLERANCE)


def test_pixel_level_gives_what_the_reference_gives(goldens):
    golden = load_file(goldens / "pixel_classifier_c5.safetensors")

    def logits(train: bool) -> tuple[torch.Tensor, torch.Tensor]:
        parts, penalties = [], []
        for name, key in (("weight_assigner", "x"), ("weight_assigner_ddpm", "ddpm")):
            readings = golden[key].transpose(0, 1)[..., None, None]  # K N C 1 1
            (gate,) = gates(golden, 0.0, name)
            merged, weights = gate.train(train).amalgamate(readings)
            parts.append(merged[..., 0, 0])
            penalties.append(sparsity(weights))
        x = torch.cat(parts, 1)
        for linear, norm in ((0, 2), (3, 5), (6, None)):
            layer = {k: golden[f"sd.layers.{linear}.{k}"].float() for k in ("weight", "bias")}
            x = F.linear(x, **layer)
            if norm is not None:
                own = {k: golden[f"sd.layers.{norm}.{k}"].clone() for k in ("running_mean", "running_var")}
                affine = {k: golden[f"sd.layers.{norm}.{k}"] for k in ("weight", "bias")}
                x = F.batch_norm(F.relu(x), **own, **affine, training=train)
        return x, sum(penalties)

    result, penalty = logits(False)
    torch.testing.assert_close(result, golden["eval_logits"], **TOLERANCE)
    torch.testing.assert_close(penalty[None], golden["eval_sparsity"], **TOLERANCE)
    torch.testing.assert_close(logits(True)[0], golden["train_bn_logits"], **TOLERANCE)


@pytest.mark.parametrize("level", ["image", "pixel"])
def test_weights_follow_the_readings(level):
    torch.manual_seed(0)
    gate, readings = Gate(6, level=level, hidden=16).eval(), torch.randn(4, 2, 6, 3, 5)
    equal = gate.weights(readings[:1].expand(4, -1, -1, -1, -1))
    torch.testing.assert_close(equal, torch.full_like(equal, 0.25))
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(gate.weights(readings[order]), gate.weights(readings)[order])
    torch.testing.assert_close(gate(readings[order]), gate(readings))
    assert gate.weights(readings).shape == ((4, 2, 6) if level == "image" else (4, 2, 6, 3, 5))
    other = torch.cat([readings[:, :1], torch.randn(4, 1, 6, 3, 5)], 1)
    torch.testing.assert_close(gate(other)[:1], gate(readings)[:1])  # an image's weights are its own


@pytest.mark.parametrize("level", ["image", "pixel"])
def test_half_precision_goes_in_and_gradients_come_out(level):
    torch.manual_seed(0)
    gate, readings = Gate(6, level=level, hidden=16, dropout=0.0), torch.randn(3, 2, 6, 4, 4)
    half = gate(readings.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, gate(readings), atol=0.05, rtol=0.05)
    half.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in gate.parameters())


def test_sparsity_rewards_peaks():
    peaked = torch.eye(3)[:, 0, None, None].expand(3, 2, 5)
    assert float(sparsity(peaked)) == -1
    assert float(sparsity(peaked)) < float(sparsity(torch.tensor([0.8, 0.1, 0.1])[:, None])) < -(3**-0.5)


def test_a_bucket_of_equal_statistics_trains_alike_by_both_norms():
    torch.manual_seed(0)
    one = torch.randn(1, 2, 6, 4, 4)
    gate = Gate(6, hidden=16, dropout=0.0).train()
    alone = Gate(6, hidden=16, dropout=0.0, norm="reading").train()
    alone.load_state_dict(gate.state_dict())
    same, moved = one.expand(3, -1, -1, -1, -1), torch.cat([one, one + 1, one + 2])
    torch.testing.assert_close(alone.weights(same), gate.weights(same))
    assert not torch.allclose(alone.weights(moved), gate.weights(moved), atol=1e-3)


def test_bad_readings_and_levels():
    with pytest.raises(BadInput, match="K B C H W with C = 6"):
        Gate(6)(torch.randn(2, 6, 4, 4))
    with pytest.raises(BadInput, match="K B C H W with C = 6"):
        Gate(6)(torch.randn(2, 1, 5, 4, 4))
    with pytest.raises(BadInput, match="image, pixel"):
        Gate(6, level="channel")
    with pytest.raises(BadInput, match="bucket, reading"):
        Gate(6, norm="batch")
