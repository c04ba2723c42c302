"""ResNets: features are those of plain transformers, and of torchvision's architecture written out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import ResNetConfig, ResNetModel

import shiftless
from shiftless.backbones.converters import convert
from shiftless.backbones.families import family
from shiftless.backbones.registry import how_to_fetch, models, taps
from shiftless.backbones.torchvision_resnet import convert_checkpoint
from shiftless.taps.hooks import tapped
from shiftless.taps.names import select

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
MEAN, STD = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
PUBLISHED = tuple(f"stage{s}.block{b}.in" for s, blocks in enumerate((3, 4, 6, 3)) for b in range(0, blocks, 2))
"""What ddpm-segmentation reads of SwAV: the inputs of every second bottleneck of a stage."""


def pixels_of(hw):
    return torch.rand(1, 3, *hw, generator=torch.Generator().manual_seed(0)) * 2 - 1


def checkpoint(width=8, depths=(2, 1, 2, 1), expansion=4, counted=True):
    """Weights with torchvision's names, as SwAV's training code writes them."""
    torch.manual_seed(0)
    weights: dict[str, torch.Tensor] = {}

    def conv(name, given, made, size):
        weights[f"{name}.weight"] = torch.randn(made, given, size, size) / (given * size * size) ** 0.5

    def norm(name, channels):
        for part, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            weights[f"{name}.{part}"] = value + 0.2 * torch.rand(channels)
        if counted:
            weights[f"{name}.num_batches_tracked"] = torch.tensor(7)

    conv("conv1", 3, width, 7)
    norm("bn1", width)
    given = width
    for stage, depth in enumerate(depths):
        inner = width * 2**stage
        for block in range(depth):
            name, made = f"layer{stage + 1}.{block}", inner * expansion
            sizes = ((given, inner, 1), (inner, inner, 3), (inner, made, 1)) if expansion == 4 else ()
            for i, (a, b, size) in enumerate(sizes or ((given, inner, 3), (inner, made, 3)), 1):
                conv(f"{name}.conv{i}", a, b, size)
                norm(f"{name}.bn{i}", b)
            if given != made:
                conv(f"{name}.downsample.0", given, made, 1)
                norm(f"{name}.downsample.1", made)
            given = made
    return weights


def by_hand(weights, x, depths, bottleneck=True):
    """Torchvision's ResNet: every block's input and output, by its name there; strides in the 3x3 convolutions."""

    def norm(name, x):
        parts = (weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts, eps=1e-5)

    x = F.relu(norm("bn1", F.conv2d(x, weights["conv1.weight"], stride=2, padding=3)))
    x = F.max_pool2d(x, 3, 2, 1)
    kept = {"stem": x}
    for stage, depth in enumerate(depths):
        for block in range(depth):
            name, stride = f"layer{stage + 1}.{block}", 2 if stage and not block else 1
            kept[f"stage{stage}.block{block}.in"] = x
            strided = 2 if bottleneck else 1
            out = x
            for i in (1, 2, 3) if bottleneck else (1, 2):
                kernel = weights[f"{name}.conv{i}.weight"]
                step = stride if i == strided else 1
                out = norm(f"{name}.bn{i}", F.conv2d(out, kernel, stride=step, padding=kernel.shape[-1] // 2))
                out = F.relu(out) if i < (3 if bottleneck else 2) else out
            if f"{name}.downsample.0.weight" in weights:
                x = norm(f"{name}.downsample.1", F.conv2d(x, weights[f"{name}.downsample.0.weight"], stride=stride))
            x = kept[f"stage{stage}.block{block}"] = F.relu(out + x)
        kept[f"stage{stage}"] = x
    return kept


@pytest.mark.parametrize("hw", [(64, 64), (64, 96)])
@pytest.mark.parametrize(
    ("width", "expansion", "kind"), [(8, 4, ".pth.tar"), (16, 4, ".safetensors"), (8, 1, ".pth")], ids=str
)
def test_a_converted_checkpoint_gives_the_features_of_torchvisions_network(width, expansion, kind, hw, tmp_path):
    depths = (2, 1, 2, 1)
    weights = checkpoint(width, depths, expansion, counted=kind != ".pth")
    heads = {"projection_head.0.weight": torch.zeros(4, 8), "prototypes.weight": torch.zeros(3, 4)}
    written = {f"module.{key}": value for key, value in {**weights, **heads}.items()}
    file = tmp_path / f"swav{kind}"
    if kind == ".safetensors":
        save_file(written, file)
    else:
        torch.save({"state_dict": written, "epoch": 800} if kind == ".pth" else written, file)
    folder = convert_checkpoint(file, tmp_path / "swav", size=96)
    model = shiftless.load(folder, device="cpu", dtype="fp32")
    assert (model.spec.family, model.spec.size, model.spec.multiple) == ("resnet", 96, 32)
    pixels = pixels_of(hw)
    ours = model.denoise(model.encode_image(pixels), 50, model.encode_prompt([""]), model.taps).maps
    theirs = by_hand(weights, ((pixels + 1) / 2 - MEAN) / STD, depths, expansion == 4)
    assert set(ours) == {*theirs, "stem.conv"}
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, **CLOSE)


@pytest.mark.parametrize("hw", [(64, 64), (32, 96)])
def test_features_are_those_of_plain_transformers(hw):
    model, kept = shiftless.load("twin:resnet50", device="cpu", dtype="fp32"), {}
    pixels, stage = pixels_of(hw), model.denoiser.encoder.stages[2]
    handles = [
        stage.register_forward_hook(lambda _m, _a, out: kept.update(stage2=out)),
        stage.layers[1].register_forward_hook(lambda _m, args, _o: kept.update({"stage2.block1.in": args[0].clone()})),
    ]
    with torch.no_grad():
        kept["stage3"] = model.denoiser(((pixels + 1) / 2 - MEAN) / STD).last_hidden_state
    for handle in handles:
        handle.remove()
    ours = model.denoise(model.encode_image(pixels), 0, model.encode_prompt([""]), select(list(kept), model.taps)).maps
    for name, value in kept.items():
        torch.testing.assert_close(ours[name], value, **CLOSE)
    assert list(shiftless.extract(model, np.zeros((40, 60, 3), np.uint8))) == ["stage2"]


@pytest.mark.parametrize(("name", "channels"), [("swav-r50", 6720), ("swav-r50w2", 13440), ("resnet101", None)])
def test_listed_taps_are_those_of_the_real_network(name, channels):
    """A whole forward pass of the full-size network on the meta device; SwAV's published layers have these channels."""
    adapter, listed = family("resnet"), taps(name)
    with torch.device("meta"):
        network = adapter.class_of(models()[name]["network"])(adapter.config(models()[name]["network"])).eval()
        with tapped(network, listed, stop=False) as captured:
            network(torch.empty(1, 3, 64, 96))
    for tap, value in zip(listed, captured.maps().values()):
        assert value.shape == (1, tap.channels, 64 // tap.stride, 96 // tap.stride), tap
    if channels:
        assert sum(tap.channels for tap in select(PUBLISHED, listed)) == channels


def test_a_model_that_was_published_as_a_checkpoint_says_how_to_convert_it(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(shiftless.BadInput, match="not on this machine; fetch it once with: curl -O https") as raised:
        shiftless.load("swav-r50")
    assert how_to_fetch("swav-r50") in str(raised.value)
    torch.save(checkpoint(), "swav_800ep_pretrain.pth.tar")
    words = how_to_fetch("swav-r50").partition(" && shiftless convert ")[2].split()
    convert(*words, {})
    assert shiftless.load("swav-r50", device="cpu").spec.name == "swav-r50"


def grouped(weights):
    return {**weights, "layer1.0.conv2.weight": torch.zeros(8, 2, 3, 3)}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (grouped, r"no ResNet that ResNetModel can be: its encoder.stages.0.layers.0.layer.1.convolution.weight is"),
        (lambda weights: {**weights, "visual.proj": torch.zeros(3)}, "it holds 'visual.proj'"),
        (lambda weights: {key: x for key, x in weights.items() if key != "conv1.weight"}, "it lacks them"),
        (lambda weights: {"weights": 3}, "holds other things than tensors by name"),
        (lambda weights: None, "no such file"),
        (lambda weights: b"cut off", "not tensors alone, or damaged"),
    ],
)
def test_other_checkpoints_are_refused_in_one_line(changed, message, tmp_path):
    made, file = changed(checkpoint()), tmp_path / "other.pth"
    if isinstance(made, bytes):
        file.write_bytes(made)
    elif made is not None:
        torch.save(made, file)
    with pytest.raises(shiftless.BadInput, match=message) as raised:
        convert_checkpoint(file, tmp_path / "folder")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "folder").exists()


def test_the_stride_is_where_the_folder_says(tmp_path):
    """transformers can express both positions; a folder of the older kind is read as it says."""
    settings = {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 1], "downsample_in_bottleneck": True}
    torch.manual_seed(0)
    ResNetModel(ResNetConfig(**settings)).save_pretrained(tmp_path)
    older = shiftless.load(tmp_path, device="cpu")
    assert older.denoiser.encoder.stages[1].layers[0].layer[0].convolution.stride == (2, 2)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_sizes": [16, 64]}))
    with pytest.raises(shiftless.BadInput, match="not a vision model that can be loaded"):
        shiftless.load(tmp_path, device="cpu")
