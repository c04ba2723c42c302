"""Quantised weights: which layers, equal to the libraries' own, another fingerprint, and what is refused."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import shiftless
from shiftless.backbones import quantise
from shiftless.backbones.families import family
from shiftless.backbones.offload import Offload
from shiftless.backbones.quantise import choose_quantise, quantisable, quantise_weights
from shiftless.backbones.random_parts import save_parts
from shiftless.backbones.registry import models
from shiftless.backbones.weight_memory import weight_memory
from shiftless.training.lora import train

PICTURE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
KINDS = {"int8": 0.999, "nf4": 0.97}  # and how much alike the features of twins must be, as their cosine


@pytest.fixture(params=KINDS)
def kind(request):
    name = request.param
    pytest.importorskip(quantise.PACKAGES[name], reason='needs the extra "quantise"')
    return name


def parts(name: str) -> dict[str, nn.Module]:
    made = family(models()[name]["family"]).twin_parts(models()[name])
    return {part: network for part, network in made.items() if isinstance(network, nn.Module)}


def twin(name: str, kind: str = "", **options):
    """A model with random weights; the plain ones, which no test changes, are made once."""
    return made(name, **options) if not kind else made.__wrapped__(name, kind, **options)


@cache
def made(name: str, kind: str = "", **options):
    return shiftless.load(f"twin:{name}", device="cpu", dtype="fp32", quantise=kind, **options)


def test_large_networks_are_quantised_but_for_what_their_class_keeps():
    of = {part: dict(quantisable(network)) for part, network in parts("flux-dev").items()}
    assert {"transformer_blocks.0.attn.to_q", "proj_out"} < set(of["transformer"])
    assert of["text_encoder"] == {}  # CLIP's is small
    t5 = set(of["text_encoder_2"])
    assert any(path.endswith("DenseReluDense.wi_0") for path in t5)
    assert not any(path.endswith(".wo") for path in t5)  # T5's class keeps it in high precision
    chat = dict(quantisable(parts("flux2-klein")["text_encoder"]))
    assert "model.layers.0.self_attn.q_proj" in chat
    assert "lm_head" not in chat
    pooler = [path for path in dict(quantisable(parts("hunyuan-dit")["transformer"])) if "pooler" in path]
    assert pooler == []  # its class never calls them


@pytest.mark.parametrize("name", ["sd15", "flux-dev", "hunyuan-dit", "dino-s16"])
def test_features_stay_alike_and_fingerprints_do_not(name, kind):
    plain, small = twin(name), twin(name, kind)
    recipe = shiftless.Recipe(taps=(plain.taps[-1].name,), prompt="a horse" if plain.spec.takes_text else "", size=64)
    ours, theirs = (shiftless.extract(one, PICTURE, recipe)[recipe.taps[0]] for one in (small, plain))
    assert not torch.equal(ours, theirs)
    assert torch.cosine_similarity(ours, theirs).mean() > KINDS[kind]
    offloaded = twin(name, kind, offload="layers")
    assert small.fingerprint == offloaded.fingerprint != plain.fingerprint
    assert torch.equal(shiftless.extract(offloaded, PICTURE, recipe)[recipe.taps[0]], ours)
    bare = small.untrained()
    assert (bare.quantise, bare.fingerprint) == (kind, small.untrained().fingerprint)


def test_two_kinds_have_two_fingerprints_and_changed_weights_a_third(kind):
    others = [one for one in KINDS if one != kind]
    small = twin("sd15", kind)
    before = small.fingerprint
    assert all(twin("sd15", other).fingerprint != before for other in others)
    with torch.no_grad():
        small.unet.conv_in.bias.add_(1)
    assert small.fingerprint != before


def test_int8_is_what_diffusers_loads_by_its_own_config(tmp_path):
    torchao = pytest.importorskip("torchao.quantization", reason='needs the extra "quantise"')
    from diffusers import FluxTransformer2DModel, TorchAoConfig

    save_parts({"transformer": parts("flux-dev")["transformer"]}, tmp_path)
    config = TorchAoConfig(torchao.Int8WeightOnlyConfig())
    options = {"quantization_config": config, "torch_dtype": torch.float32}
    theirs = FluxTransformer2DModel.from_pretrained(tmp_path / "transformer", **options)
    ours = twin("flux-dev", "int8").denoiser
    draw = torch.Generator().manual_seed(0)
    inputs = {
        "hidden_states": torch.randn(1, 16, 64, generator=draw),
        "encoder_hidden_states": torch.randn(1, 5, 32, generator=draw),
        "pooled_projections": torch.randn(1, 16, generator=draw),
        "timestep": torch.tensor([0.5]), "guidance": torch.tensor([3.5]),
        "img_ids": torch.randint(0, 4, (16, 3), generator=draw).float(), "txt_ids": torch.zeros(5, 3),
    }  # fmt: skip
    with torch.no_grad():
        assert torch.equal(theirs(**inputs).sample, ours(**inputs).sample)


def test_nf4_is_what_bitsandbytes_makes_of_the_same_weights():
    functional = pytest.importorskip("bitsandbytes.functional", reason='needs the extra "quantise"')
    network = nn.Sequential(nn.Linear(64, 8), nn.Linear(8, 4, bias=False))
    weights = [layer.weight.detach().clone() for layer in network]
    bias = network[0].bias.detach().clone()
    quantise_weights(network, "nf4")
    for layer, weight in zip(network, weights):
        theirs = functional.dequantize_4bit(*functional.quantize_4bit(weight, quant_type="nf4"))
        assert torch.equal(functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state), theirs)
    x = torch.randn(3, 64)
    dequantised = functional.dequantize_4bit(network[0].weight.data, network[0].weight.quant_state)
    torch.testing.assert_close(network[0](x), nn.functional.linear(x, dequantised, bias), atol=1e-5, rtol=1e-5)
    before = network[0].weight.data.clone()
    network(x)
    assert torch.equal(network[0].weight.data, before)  # calling it changes nothing


def test_the_scales_come_and_go_with_their_weights(kind):
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    quantise_weights(network, kind)
    inputs = torch.randn(2, 64)
    before, home = network(inputs), network[0].weight
    offload = Offload([network], torch.device("meta"))
    for _ in range(2):
        with offload.turn(network):
            assert scales(network[0].weight, kind).device.type == network[0].weight.device.type == "meta"
        with offload.turn():
            assert network[0].weight is home
            assert scales(home, kind).device.type == "cpu"
    assert torch.equal(network(inputs), before)


def scales(weight: torch.Tensor, kind: str) -> torch.Tensor:
    return weight.scale if kind == "int8" else weight.quant_state.absmax


def test_images_and_edges_may_steer_and_loras_may_not(kind, goldens, tmp_path):
    plain, small = twin("sd15", size=64), twin("sd15", kind, size=64)
    recipe = shiftless.Recipe(taps=("up1",), image_prompt=("ip-adapter",), control=("canny",))
    ours, theirs = (shiftless.extract(one, PICTURE, recipe)["up1"] for one in (small, plain))
    assert torch.cosine_similarity(ours, theirs).mean() > KINDS[kind]
    assert "lora" not in small.spec.techniques
    lora = str(goldens / "tiny-lora" / "pytorch_lora_weights.safetensors")
    line = "twin:sd15: its weights are quantised, and LoRAs change plain ones; load it without"
    with pytest.raises(shiftless.BadInput, match=line):
        shiftless.extract(small, PICTURE, shiftless.Recipe(lora=(lora,)))
    with pytest.raises(shiftless.BadInput, match=line):
        small.adapted([(lora, 1.0)]).__enter__()
    with pytest.raises(shiftless.BadInput, match=line):
        train(small, [PICTURE] * 4, tmp_path / "a.safetensors")


def test_what_is_not_known_or_not_installed_is_one_line(monkeypatch):
    with pytest.raises(shiftless.BadInput, match="quantise='int5': must be int8 or nf4, or be left out"):
        shiftless.load("twin:sd15", quantise="int5")
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(shiftless.BadInput, match=r"needs torchao \(.*\); install it with: pip install 'shiftless\[qua"):
        choose_quantise("int8")


def test_the_memory_is_that_of_the_weights_made(kind):
    """Of a network in bf16, which is stored: its numbers are counted from its layers, without making any."""
    network = nn.Sequential(nn.Linear(128, 64), nn.Conv2d(4, 4, 1)).to(torch.bfloat16)
    counted = {id(layer.weight): quantise.bytes_of(layer, kind) for _, layer in quantisable(network)}
    expected = sum(counted.get(id(one), 2 * one.numel()) for one in network.parameters())
    quantise_weights(network, kind)
    layer = network[0]
    if kind == "int8":
        made = layer.weight.qdata.nbytes + layer.weight.scale.nbytes
    else:
        made = layer.weight.nbytes + layer.weight.quant_state.absmax.nbytes
    others = [layer.bias, network[1].weight, network[1].bias]
    assert made + sum(one.nbytes for one in others) == expected


def test_what_is_offloaded_needs_no_more_than_its_largest_part():
    needed = weight_memory(models()["flux-dev"])
    assert needed["bf16", ""] == pytest.approx(shiftless.model_info("flux-dev").gigabytes(), abs=0.01)
    assert needed["bf16", "parts"] == pytest.approx(2 * 11.9014, abs=0.001)  # the transformer
    for kept in ("bf16", "int8", "nf4"):
        assert needed[kept, "layers"] < needed[kept, "parts"] < needed[kept, ""]
    assert needed["nf4", "parts"] < 0.6 * needed["int8", "parts"] < 0.4 * needed["bf16", "parts"]


def test_the_documented_memory_is_that_of_the_configs():
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.fullmatch(r"\| `[\w.-]+` \|( [\d.]+ \|){9}", line)]
    assert len(rows) == 5
    for row in rows:
        name, *numbers = row.replace("|", " ").replace("`", " ").split()
        assert numbers == [f"{size:.1f}" for size in weight_memory(models()[name]).values()]
