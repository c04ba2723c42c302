"""LoRAs: every format says the same, hooks see them, and the model is bit-identical afterwards."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import shiftless
from shiftless import BadInput
from shiftless.conditions.lora import adapted
from shiftless.conditions.lora_file import find_lora, read_lora

TO_Q = "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_q"
Q_PROJ = "encoder.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def twin():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture
def save(tmp_path):
    """Write tensors as a LoRA file and return its path."""

    def write(state, name="lora.safetensors", metadata=None):
        save_file({key: value.clone().contiguous() for key, value in state.items()}, tmp_path / name, metadata)
        return str(tmp_path / name)

    return write


def halves(out=64, inside=64, rank=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rank, inside, generator=generator), torch.randn(out, rank, generator=generator)


def peft(path=TO_Q, part="unet", **sizes):
    down, up = halves(**sizes)
    return {f"{part}.{path}.lora_A.weight": down, f"{part}.{path}.lora_B.weight": up}


def output(model, path=TO_Q, size=64):
    """What one layer makes of a fixed input, read by a hook as taps are."""
    recorded = []
    layer = model.get_submodule(path)
    handle = layer.register_forward_hook(lambda module, args, out: recorded.append(out))
    layer(torch.linspace(-1, 1, size)[None])
    handle.remove()
    return recorded[0].detach()


def state_of(model):
    """Everything that could have changed: modules by name and identity, tensors, flags, attributes."""
    return (
        {name: (id(module), module.training) for name, module in model.named_modules()},
        {name: tensor.clone() for name, tensor in model.state_dict().items()},
        {name: p.requires_grad for name, p in model.named_parameters()},
        {name: id(value) for name, value in vars(model).items()},
    )


def assert_same_state(model, before):
    modules, tensors, flags, attributes = state_of(model)
    assert modules == before[0]
    assert list(tensors) == list(before[1])
    assert all(torch.equal(tensors[name], before[1][name]) for name in tensors)
    assert flags == before[2]
    assert attributes == before[3]


def test_a_lora_adds_up_times_down(twin, save):
    file = save(peft())
    down, up = halves()
    x = torch.linspace(-1, 1, 64)[None]
    plain = output(twin.unet)
    with adapted({"unet": twin.unet, "text_encoder": twin.text_encoder}, [(file, 0.5)]):
        inside = output(twin.unet)
    torch.testing.assert_close(inside, plain + 0.5 * (x @ down.T) @ up.T)
    assert torch.equal(output(twin.unet), plain)


def test_several_add_up_and_a_negative_scale_takes_away(twin, save):
    one, two = save(peft(seed=1), "one.safetensors"), save(peft(seed=2, rank=5), "two.safetensors")
    plain = output(twin.unet)
    gained = []
    for loras in ([(one, 1.0)], [(two, -2.0)], [(one, 1.0), (two, -2.0)]):
        with adapted({"unet": twin.unet, "text_encoder": twin.text_encoder}, loras):
            gained.append(output(twin.unet) - plain)
    torch.testing.assert_close(gained[2], gained[0] + gained[1], atol=1e-4, rtol=1e-5)
    assert gained[2].abs().max() > 1


def kohya(alpha):
    down, up = halves()
    name = "lora_unet_" + TO_Q.replace(".", "_")
    return {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(alpha)}


def old():
    down, up = halves()
    stem = f"unet.{TO_Q.removesuffix('.to_q')}.processor.to_q_lora"
    return {f"{stem}.down.weight": down, f"{stem}.up.weight": up}


def middle():
    return {key.replace("lora_A", "lora.down").replace("lora_B", "lora.up"): value for key, value in peft().items()}


@pytest.mark.parametrize(
    ("state", "metadata", "scale"),
    [
        (peft(), None, 1.0),
        (kohya(2.0), None, 1.0),
        (kohya(1.0), None, 0.5),
        (old(), None, 1.0),
        (middle(), None, 1.0),
        ({key.removeprefix("unet."): value for key, value in old().items()}, None, 1.0),
        (peft(), {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 8, "unet.r": 2})}, 4.0),
        (peft(), {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 1, "unet.alpha_pattern": {TO_Q: 6}})}, 3.0),
    ],
    ids=["peft", "kohya", "kohya alpha", "processors", "lora.down", "bare", "saved alpha", "saved pattern"],
)
def test_every_format_says_the_same(twin, save, state, metadata, scale):
    file = save(state, metadata=metadata)
    down, up = halves()
    plain, x = output(twin.unet), torch.linspace(-1, 1, 64)[None]
    with adapted({"unet": twin.unet, "text_encoder": twin.text_encoder}, [(file, 1.0)]):
        torch.testing.assert_close(output(twin.unet), plain + scale * (x @ down.T) @ up.T)


@pytest.mark.parametrize(
    "names",
    [
        "text_encoder.encoder.layers.0.self_attn.q_proj.lora_{}.weight",
        "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_{}.weight",
        "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.{}.weight",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_{}.weight",
    ],
    ids=["peft", "peft of older transformers", "lora_linear_layer", "kohya"],
)
def test_the_text_encoder_too(twin, save, names):
    down, up = halves(32, 32)
    letters = ("A", "B") if "lora_{}" in names and "lora_te_" not in names else ("down", "up")
    file = save(dict(zip(map(names.format, letters), (down, up))))
    path = next(name for name, _ in twin.text_encoder.named_modules() if name.endswith(Q_PROJ))
    plain, x = output(twin.text_encoder, path, 32), torch.linspace(-1, 1, 32)[None]
    with adapted({"unet": twin.unet, "text_encoder": twin.text_encoder}, [(file, 1.0)]):
        torch.testing.assert_close(output(twin.text_encoder, path, 32), plain + (x @ down.T) @ up.T)


def test_convolutions_and_a_linear_layer_saved_as_one(twin, save):
    conv, projection = "up_blocks.3.resnets.0.conv1", "up_blocks.1.attentions.0.proj_in"
    down, up = halves()
    state = {
        f"unet.{conv}.lora_A.weight": torch.randn(2, 96, 3, 3),
        f"unet.{conv}.lora_B.weight": torch.randn(32, 2, 1, 1),
        f"unet.{projection}.lora_A.weight": down,  # the layer is a 1 x 1 convolution
        f"unet.{projection}.lora_B.weight": up,
        f"unet.{TO_Q}.lora_A.weight": down[:, :, None, None],  # the layer is linear
        f"unet.{TO_Q}.lora_B.weight": up[:, :, None, None],
    }
    x = torch.randn(1, 96, 4, 4)
    before, plain = twin.unet.get_submodule(conv)(x), output(twin.unet)
    with adapted({"unet": twin.unet}, [(save(state), 1.0)]):
        inside = twin.unet.get_submodule(conv)(x)
        a, b = state[f"unet.{conv}.lora_A.weight"], state[f"unet.{conv}.lora_B.weight"]
        gain = torch.nn.functional.conv2d(torch.nn.functional.conv2d(x, a, padding=1), b)
        torch.testing.assert_close(inside, before + gain, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(output(twin.unet), plain + (torch.linspace(-1, 1, 64)[None] @ down.T) @ up.T)


def features(model, taps=("up1", "up1.attn0.block0.cross.q", "up1.attn0.block0.cross.map")):
    picture = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    read = shiftless.extract(model, picture, shiftless.Recipe(taps=taps))
    return {tap: read[tap].clone() for tap in taps}


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_bit_identical_afterwards(goldens, fails):
    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    model.unet.conv_in.weight.requires_grad_(True)  # flags that peft changes are put back as they were
    before, text_before, plain = state_of(model.unet), state_of(model.text_encoder), features(model)
    try:
        with adapted({"unet": model.unet, "text_encoder": model.text_encoder}, [(str(goldens / "tiny-lora"), 1.0)] * 2):
            inside = features(model)
            if fails:
                raise KeyboardInterrupt
    except (KeyboardInterrupt, BadInput):
        assert fails
    assert_same_state(model.unet, before)
    assert_same_state(model.text_encoder, text_before)
    after = features(model)
    for tap, value in plain.items():
        assert torch.equal(after[tap], value)
        assert not torch.equal(inside[tap], value), f"{tap} is read without the LoRA"


def test_half_precision_models_are_read_in_their_own(save):
    model = shiftless.load("twin:sd15", device="cpu", dtype="bf16")
    with adapted({"unet": model.unet, "text_encoder": model.text_encoder}, [(save(peft()), 1.0)]):
        kinds = {p.dtype for p in model.unet.parameters()}
        assert features(model)["up1"].isfinite().all()
    assert kinds == {torch.bfloat16}


def bad_files(save, tmp_path):
    (tmp_path / "text.safetensors").write_text("hello")
    save(peft(), "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    torch.save(peft(), tmp_path / "pickle.pt")
    (tmp_path / "none").mkdir()
    (tmp_path / "many").mkdir()
    for name in ("a", "b"):
        save(peft(), f"many/{name}.safetensors")
    save({"conv.weight": torch.zeros(2)}, "plain.safetensors")
    save({**peft(), **peft("down_blocks.9.to_q"), **peft("down_blocks.8.to_q")}, "unknown.safetensors")
    save(peft(inside=48), "narrow.safetensors")
    cross = TO_Q.replace("to_q", "to_k")
    save(peft(cross, inside=768), "sd1.safetensors")
    save({**peft(), **peft("encoder.layers.0.q", "text_encoder_2")}, "sdxl.safetensors")
    save({"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": torch.zeros(2, 2)}, "flux.safetensors")
    save({f"unet.{TO_Q}.lora_A.weight": torch.zeros(2, 64)}, "one_half.safetensors")
    save({f"unet.{TO_Q}.hada_w1_a": torch.zeros(2, 2)}, "loha.safetensors")
    save({**peft(), f"unet.{TO_Q}.lora_magnitude_vector": torch.zeros(2)}, "dora.safetensors")
    save({"lora_unet_odd.lora_down.weight": torch.zeros(2, 2), "lora_unet_x.y": torch.zeros(1)}, "odd.safetensors")
    save(peft("conv_norm_out"), "norm.safetensors")
    save(peft(), "scale.safetensors")


@pytest.mark.parametrize(
    ("name", "scale", "says"),
    [
        ("missing.safetensors", 1.0, "no such LoRA"),
        ("some-body/some-lora", 1.0, "shiftless fetch some-body/some-lora"),
        ("text.safetensors", 1.0, "not a whole safetensors file"),
        ("half.safetensors", 1.0, "not a whole safetensors file"),
        ("pickle.pt", 1.0, ".safetensors only"),
        ("none", 1.0, "it holds none"),
        ("many", 1.0, "several (a.safetensors, b.safetensors)"),
        ("plain.safetensors", 1.0, "holds no LoRA layers (it holds 1 tensors, such as conv.weight)"),
        ("unknown.safetensors", 1.0, "2 unknown keys, such as unet.down_blocks"),
        ("narrow.safetensors", 1.0, "to_q is 64 x 48 there and 64 x 64 here"),
        ("sd1.safetensors", 1.0, "seems made for Stable Diffusion 1;"),
        ("sdxl.safetensors", 1.0, "seems made for SDXL;"),
        ("flux.safetensors", 1.0, "SD3 or Flux"),
        ("one_half.safetensors", 1.0, "1 unknown key, such as"),
        ("loha.safetensors", 1.0, "a LoHa, which is not supported"),
        ("dora.safetensors", 1.0, "has 2 magnitudes there and 64 outputs here"),
        ("odd.safetensors", 1.0, "of no format known here"),
        ("norm.safetensors", 1.0, "1 unknown key, such as unet.conv_norm_out"),
        ("scale.safetensors", float("nan"), "scale nan"),
        ("scale.safetensors", "1", "scale '1'"),
    ],
)
def test_bad_loras_are_one_line_and_leave_the_model_unharmed(twin, save, tmp_path, monkeypatch, name, scale, says):
    bad_files(save, tmp_path)
    monkeypatch.chdir(tmp_path)
    before, plain = state_of(twin.unet), output(twin.unet)
    with pytest.raises(BadInput) as raised, adapted({"unet": twin.unet}, [("whole.safetensors", 1.0), (name, scale)]):
        pytest.fail("it was taken")
    message = str(raised.value)
    assert says in message
    assert "\n" not in message
    assert name in message
    assert_same_state(twin.unet, before)
    assert torch.equal(output(twin.unet), plain)


def test_adapters_of_others_are_left_alone(twin, save):
    file = save(peft())
    refused = pytest.raises(BadInput, match="other adapters")
    with adapted({"unet": twin.unet}, [(file, 1.0)]), refused, adapted({"unet": twin.unet}, [(file, 1.0)]):
        pytest.fail("it was taken")


def test_a_file_is_read_again_only_when_it_has_changed(save):
    file = save(peft())
    first = read_lora(file)
    assert read_lora(file) is first
    save(peft(rank=3))
    assert read_lora(file).parts["unet"][TO_Q].down.shape == (3, 64)


def test_diffusers_own_loader_agrees(goldens):
    """The same file through diffusers' own loader gives the same prediction."""
    from diffusers.loaders import StableDiffusionLoraLoaderMixin as Loader

    model = shiftless.load(goldens / "tiny-sd", device="cpu", dtype="fp32")
    latent, condition = torch.randn(1, 4, 16, 16), model.encode_prompt(["a cat"])
    for file in sorted((goldens / "tiny-lora").glob("*.safetensors")):
        with adapted({"unet": model.unet, "text_encoder": model.text_encoder}, [(str(file), 1.0)]):
            ours = model.denoise(latent, 50, condition).prediction
        state, alphas = Loader.lora_state_dict(load_file(file))
        model.unet.load_lora_adapter(state, prefix="unet", network_alphas=alphas)
        theirs = model.denoise(latent, 50, condition).prediction
        model.unet.unload_lora()
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(ours, model.denoise(latent, 50, condition).prediction, atol=1e-3)


def test_a_folder_stands_for_the_file_that_diffusers_names(goldens):
    assert len(list((goldens / "tiny-lora").glob("*.safetensors"))) == 2
    assert find_lora(goldens / "tiny-lora").name == "pytorch_lora_weights.safetensors"
