"""Masked autoencoders in their authors' format: a converted one computes what the architecture, written out, does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import shiftless
from shiftless.backbones.mae_checkpoint import convert, convert_checkpoint
from shiftless.taps.names import select

WIDTH, HEADS, PATCH, SIDE = 24, 3, 8, 4
MEAN, STD = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def checkpoint(width=WIDTH, depth=2, patch=PATCH, side=SIDE):
    """Weights with the names that the authors' training code writes, decoder and all."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator) * 0.2

    weights = {
        "cls_token": random(1, 1, width), "pos_embed": random(1, side * side + 1, width),
        "mask_token": random(1, 1, 16), "decoder_pos_embed": random(1, side * side + 1, 16),
        "patch_embed.proj.weight": random(width, 3, patch, patch), "patch_embed.proj.bias": random(width),
        "decoder_blocks.0.norm1.weight": random(16), "norm.weight": random(width) + 1, "norm.bias": random(width),
    }  # fmt: skip
    for i in range(depth):
        for norm in ("norm1", "norm2"):
            weights |= {f"blocks.{i}.{norm}.weight": random(width) + 1, f"blocks.{i}.{norm}.bias": random(width)}
        layers = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
        layers |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
        for name, shape in layers.items():
            weights |= {f"blocks.{i}.{name}.weight": random(*shape), f"blocks.{i}.{name}.bias": random(shape[0])}
    return weights


def by_hand(weights, pixels, depth=2):
    """Every block's output without the class token, B C h w: the encoder of He et al. 2022, nothing masked."""
    w = weights
    tokens = F.conv2d(pixels, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=PATCH)
    grid = tokens.shape[2:]
    tokens = tokens.flatten(2).transpose(1, 2) + w["pos_embed"][:, 1:]
    tokens = torch.cat([w["cls_token"] + w["pos_embed"][:, :1], tokens], 1)
    kept = {}

    def linear(name, x):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(name, x):
        return F.layer_norm(x, (x.shape[-1],), w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    for i in range(depth):
        joint = linear(f"blocks.{i}.attn.qkv", norm(f"blocks.{i}.norm1", tokens))
        q, k, v = joint.unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = ((q @ k.transpose(2, 3)) * q.shape[-1] ** -0.5).softmax(-1) @ v
        tokens = tokens + linear(f"blocks.{i}.attn.proj", mixed.transpose(1, 2).flatten(2))
        inner = F.gelu(linear(f"blocks.{i}.mlp.fc1", norm(f"blocks.{i}.norm2", tokens)))
        tokens = tokens + linear(f"blocks.{i}.mlp.fc2", inner)
        kept[f"block{i}"] = tokens[:, 1:].transpose(1, 2).unflatten(2, grid)
    kept["last"] = norm("norm", tokens)[:, 1:].transpose(1, 2).unflatten(2, grid)
    return kept


def test_a_converted_checkpoint_gives_the_features_of_the_authors_network(tmp_path):
    weights = checkpoint()
    torch.save({"model": weights, "epoch": 1600}, tmp_path / "mae.pth")
    folder = convert_checkpoint(tmp_path / "mae.pth", tmp_path / "mae", heads=HEADS)
    model = shiftless.load(folder, device="cpu", dtype="fp32")
    assert (model.spec.family, model.spec.size, model.spec.multiple) == ("vit", PATCH * SIDE, PATCH)
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = by_hand(weights, ((pixels + 1) / 2 - MEAN) / STD)
    ours = model.denoise(model.encode_image(pixels), 0, model.encode_prompt([""]), select([*expected], model.taps))
    for name, value in expected.items():
        torch.testing.assert_close(ours.maps[name], value, atol=1e-5, rtol=1e-5)


def test_the_published_network_of_ddpm_segmentation_is_represented():
    with torch.device("meta"):
        shapes = {name: torch.empty(value.shape) for name, value in checkpoint(1024, 24, 8, 32).items()}
    config, made = convert(shapes)
    assert (config["image_size"], config["patch_size"], config["num_attention_heads"]) == (256, 8, 16)
    assert 300e6 < sum(value.numel() for value in made.values()) < 306e6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("pos_embed"), "lacks pos_embed"),
        (lambda w: w.update({"blocks.0.gamma_1": torch.ones(24)}), "no place for blocks.0.gamma_1"),
        (lambda w: w.pop("blocks.1.mlp.fc2.bias"), "output.dense.bias is \\[24\\], the checkpoint's None"),
        (lambda w: w.update({"pos_embed": torch.ones(1, 16, 24)}), "position_embeddings is"),
        (lambda w: w.update({"patch_embed.proj.weight": torch.ones(24)}), "other shapes"),
    ],
)
def test_other_networks_are_one_line(change, message):
    weights = checkpoint()
    change(weights)
    with pytest.raises(shiftless.BadInput, match=message) as raised:
        convert(weights, heads=HEADS)
    assert "\n" not in str(raised.value)


def test_heads_that_the_width_does_not_tell_are_asked_for():
    with pytest.raises(shiftless.BadInput, match="24 channels and unknown heads; say --heads"):
        convert(checkpoint())
    with pytest.raises(shiftless.BadInput, match="24 channels and 5 heads"):
        convert(checkpoint(), heads=5)
