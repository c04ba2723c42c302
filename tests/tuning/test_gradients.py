"""What learns gets the gradients of plain diffusers and peft, and the model is afterwards as it was before."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer

from shiftless.backbones.registry import load
from shiftless.digest import digest_of_tensors
from shiftless.image import Frame, open_photo, to_pixels
from shiftless.reading.extraction import stream
from shiftless.recipe import Recipe
from shiftless.tuning import TuneSettings, tuning

TAPS = ("up1", "up2.attn0.block0", "both.cross.map.s16")
RECIPE = Recipe(timestep=50, taps=TAPS, noise="none", prompt="a horse", size=64)
MODULES = {"up1": "up_blocks.1", "up2.attn0.block0": "up_blocks.2.attentions.0.transformer_blocks.0"}
MAPS = ("down_blocks.1", "up_blocks.2")
CHECKPOINTING = pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])


@pytest.fixture(scope="module")
def model():
    return load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def photo():
    return open_photo(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def loss_of(maps):
    return sum(maps[tap].square().mean() for tap in TAPS[:2]) + maps[TAPS[2]][:, 1:4].square().sum()


def ours(learned, photo):
    """Read with a graph, and return the loss."""
    with learned.model.learning():
        (bucket,) = stream(learned.model, [photo], [RECIPE], dtype=None)
    return loss_of(bucket[0])


def plainly(model, unet, photo, embeds):
    """The same loss by plain diffusers: outputs by hooks, the map from what queries and keys are given."""
    kept, maps, handles = {}, [], []

    def hook(name):
        return lambda module, args, output: kept.update({name: output})

    def attended(module, args, kwargs, output):
        q, k = module.to_q(args[0]), module.to_k(kwargs["encoder_hidden_states"])
        q, k = (one.unflatten(2, (module.heads, -1)).transpose(1, 2) for one in (q, k))
        weights = (q @ k.transpose(2, 3) * module.scale).softmax(-1).mean(1).transpose(1, 2)
        maps.append(weights.unflatten(2, (64 // 16, 64 // 16)))

    for tap, path in MODULES.items():
        handles.append(unet.get_submodule(path).register_forward_hook(hook(tap)))
    for path in MAPS:
        for layer in unet.get_submodule(path).attentions:
            attention = layer.transformer_blocks[0].attn2
            handles.append(attention.register_forward_hook(attended, with_kwargs=True))
    with torch.no_grad():
        latent = model.vae.encode(to_pixels(photo, Frame(photo.hw, (64, 64)))).latent_dist.mode()
    unet(latent * model.vae.config.scaling_factor, 50, embeds)
    for handle in handles:
        handle.remove()
    kept["up2.attn0.block0"] = kept["up2.attn0.block0"].transpose(1, 2)
    kept["both.cross.map.s16"] = torch.stack(maps).mean(0)
    return loss_of(kept)


def close(mine, plain):
    assert sum(one is not None for one in plain) > 2
    for one, other in zip(mine, plain, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3)


def test_the_denoiser_s_own_weights(model, photo):
    before = digest_of_tensors(model.unet.state_dict()), model.fingerprint
    unet = copy.deepcopy(model.unet).requires_grad_()
    plain = plainly(model, unet, photo, model.encode_prompt(["a horse"]).embeds)
    plain.backward()
    with tuning(model, [RECIPE], TuneSettings("unet")) as learned:
        loss = ours(learned, photo)
        loss.backward()
        assert float(loss.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)
        close([one.grad for one in learned.masters.values()], [one.grad for one in unet.parameters()])
        torch.optim.SGD(learned.masters.values(), 1e-3).step()
        assert float(ours(learned, photo).detach()) < float(loss.detach())
    assert (digest_of_tensors(model.unet.state_dict()), model.fingerprint) == before
    assert not any(one.requires_grad for one in model.unet.parameters())
    assert not model.unet.is_gradient_checkpointing


def test_a_lora(model, photo):
    before = {part: digest_of_tensors(network.state_dict()) for part, network in model.networks.items()}
    unet = copy.deepcopy(model.unet)
    with tuning(model, [RECIPE], TuneSettings("lora", rank=2, alpha=6)) as learned:
        draw = torch.Generator().manual_seed(0)
        numbers = {name: torch.randn(one.shape, generator=draw) / 10 for name, one in learned.layers.numbers().items()}
        learned.layers.set_numbers(numbers)
        ours(learned, photo).backward()
        mine = {name: one.grad for name, one in learned.layers._named()}
        assert [one for one in model.unet.parameters() if one.requires_grad] == learned.layers.parameters("unet")
        frozen = {name: one for name, one in model.unet.named_parameters() if not one.requires_grad}
        assert all(one.grad is None for one in frozen.values())
    targets = list(dict.fromkeys(name.removeprefix("unet.").rpartition(".")[0] for name in numbers))
    inject_adapter_in_model(LoraConfig(r=2, lora_alpha=6, target_modules=targets), unet)
    layers = {name: one for name, one in unet.named_modules() if isinstance(one, LoraLayer)}
    with torch.no_grad():
        for name, layer in layers.items():
            layer.lora_A["default"].weight.copy_(numbers[f"unet.{name}.A"])
            layer.lora_B["default"].weight.copy_(numbers[f"unet.{name}.B"])
    plainly(model, unet, photo, model.encode_prompt(["a horse"]).embeds).backward()
    plain = {f"unet.{name}.{which}": getattr(layer, f"lora_{which}")["default"].weight.grad
             for name, layer in layers.items() for which in "AB"}  # fmt: skip
    assert plain.keys() == mine.keys()
    close(list(mine.values()), [plain[name] for name in mine])
    assert {part: digest_of_tensors(network.state_dict()) for part, network in model.networks.items()} == before


@CHECKPOINTING
@pytest.mark.parametrize("kind", ["tokens", "classes"])
def test_prompt_embeddings(model, photo, kind, checkpointing):
    classes = ["sky", "the road", "a red car", "tree"]
    with tuning(model, [RECIPE], TuneSettings("prompts", kind, tokens=3, checkpointing=checkpointing), classes) as one:
        ours(one, photo).backward()
        mine = {name: weight.grad for name, weight in one.prompt.named_parameters()}
        weights = {name: weight.detach().clone().requires_grad_() for name, weight in one.prompt.named_parameters()}
        assert not any(weight.requires_grad for weight in model.unet.parameters())
    if kind == "tokens":
        embeds = torch.cat([model.encode_prompt(["a horse"]).embeds, weights["tokens"][None]], 1)
    else:
        known = []
        for name in classes:
            ids = model.tokenizer(f"a photo of a {name}", padding="max_length", return_tensors="pt").input_ids
            known.append(model.text_encoder(ids).pooler_output[0].detach())
        known = torch.stack(known)
        hidden = torch.nn.functional.gelu(known @ weights["mlp.0.weight"].T + weights["mlp.0.bias"])
        adapted = hidden @ weights["mlp.2.weight"].T + weights["mlp.2.bias"]
        embeds = (known + weights["gamma"] * adapted)[None]
        assert torch.all(weights["gamma"] == 1e-4)
    plainly(model, model.unet, photo, embeds).backward()
    if kind == "tokens":
        assert all(gradient.abs().max() > 0 for gradient in mine.values())
    for name, weight in weights.items():
        torch.testing.assert_close(mine[name], weight.grad, atol=1e-9, rtol=1e-3)


class Eye:
    """A stand-in of a CLIP that sees the mean colours of a photo."""

    name, fingerprint, width = "eye", "1f", 3

    def image(self, photo):
        return torch.from_numpy(photo.array.mean((0, 1)))[None].float() / 255


@CHECKPOINTING
def test_an_implicit_caption_and_nothing_of_the_frozen_denoiser(model, photo, checkpointing):
    settings = TuneSettings("prompts", "implicit", checkpointing=checkpointing)
    with tuning(model, [RECIPE], settings, clip=Eye()) as learned:
        prompt = learned.prompt
        own = model.encode_prompt(["a horse"]).embeds
        before = ours(learned, photo)
        torch.testing.assert_close(before.detach(), plainly(model, model.unet, photo, own).detach())  # gates are shut
        with torch.no_grad():
            prompt.gate.normal_(generator=torch.Generator().manual_seed(0))
        ours(learned, photo).backward()
        mine = {name: weight.grad for name, weight in prompt.named_parameters()}
        assert learned.groups() == [(list(prompt.parameters()), 1.0)]
        assert all(one.grad is None and not one.requires_grad for one in model.unet.parameters())
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in prompt.named_parameters()}
    said = Eye().image(photo) @ weights["project.weight"].T + weights["project.bias"]
    embeds = own + torch.tanh(weights["gate"]) * (said + weights["positions"])
    plainly(model, model.unet, photo, embeds).backward()
    for name, weight in weights.items():
        assert weight.grad.abs().max() > 0
        torch.testing.assert_close(mine[name], weight.grad, atol=1e-9, rtol=1e-3)


def test_in_bfloat16_fp32_masters_get_nearly_the_same_gradients(model, photo):
    found = []
    half = load("twin:sd15", device="cpu", dtype="bf16")
    for one in (model, half):
        with tuning(one, [RECIPE], TuneSettings("unet", "tokens")) as learned:
            weights = [weight for group, _ in learned.groups() for weight in group]
            ours(learned, photo).backward()
            assert {weight.dtype for weight in weights} == {torch.float32}
            found.append(torch.cat([w.grad.flatten() for w in weights if w.grad is not None]))
    assert found[0].norm() > 0
    assert torch.cosine_similarity(*found, dim=0) > 0.98
    assert {weight.dtype for weight in half.unet.parameters()} == {torch.bfloat16}
