"""Vision transformers: features and attention are those of plain transformers with hand-written hooks."""

from __future__ import annotations

import copy
import inspect
import json

import numpy as np
import pytest
import torch
import transformers

import shiftless
from shiftless.backbones.families import family
from shiftless.backbones.registry import models, taps, untrained
from shiftless.backbones.vit_layout import PatchLayout
from shiftless.reading.counted import Counted, calls
from shiftless.taps.hooks import tapped
from shiftless.taps.names import select

KINDS = ("dino-s16", "dinov2-s", "dinov2-reg-b", "dinov3-s", "mae-b", "clip-b16", "siglip2-b16")
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
READ = ["block1", "block1.self.q", "block1.self.k", "block1.self.v", "last"]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
PICTURE = np.random.default_rng(0).integers(0, 255, (48, 70, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return shiftless.load(f"twin:{request.param}", device="cpu", dtype="fp32")


def pixels_of(hw):
    return torch.rand(1, 3, *hw, generator=torch.Generator().manual_seed(0)) * 2 - 1


def plain(network, pixels, mean, std):
    """What plain transformers, with its own eager attention, computes: tokens of block 1 and what lies around it."""
    network = copy.deepcopy(network)
    network.set_attn_implementation("eager")
    kept, options = {}, {}
    if "interpolate_pos_encoding" in inspect.signature(network.forward).parameters:
        options["interpolate_pos_encoding"] = True
    block = next(m for m in network.modules() if isinstance(m, torch.nn.ModuleList))[1]
    handles = []
    for name, module in block.named_modules():
        letter = name.rpartition(".")[2].removesuffix("_proj")
        if letter in ("q", "k", "v", "query", "key", "value"):
            handles.append(
                module.register_forward_hook(
                    lambda _m, _a, out, letter=letter[0]: kept.update({f"block1.self.{letter}": out})
                )
            )
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (mean, std))
    with torch.no_grad():
        output = network(
            pixel_values=((pixels + 1) / 2 - mean) / std, output_hidden_states=True, output_attentions=True, **options
        )
        kept |= {"block1": output.hidden_states[2], "weights": output.attentions[1], "last": output.last_hidden_state}
        if isinstance(network, transformers.CLIPVisionModel):
            kept["last"] = getattr(network, "vision_model", network).post_layernorm(output.last_hidden_state)
    for handle in handles:
        handle.remove()
    return kept, getattr(output, "ids_restore", None)


def patches(tokens, count, restore):
    """The patches of tokens B N C in the order of rows; a masked autoencoder's own code shuffles them."""
    tokens = tokens[:, -count:]
    return tokens if restore is None else tokens.gather(1, restore[..., None].expand(-1, -1, tokens.shape[2]))


@pytest.mark.parametrize("cells", [(4, 4), (3, 5)])
def test_features_and_attention_are_those_of_plain_transformers(model, cells):
    row = models()[model.spec.name.partition(":")[2]]
    mean, std = row.get("mean", IMAGENET[0]), row.get("std", IMAGENET[1])
    pixels, count = pixels_of([n * model.spec.multiple for n in cells]), cells[0] * cells[1]
    chosen = [tap for tap in model.taps if tap.name in READ or tap.name.startswith(("block1.self.map", "block1.cls"))]
    ours = model.denoise(model.encode_image(pixels), 261, model.encode_prompt([""]), chosen).maps
    kept, restore = plain(model.denoiser, pixels, mean, std)
    for name in READ:
        expected = patches(kept[name], count, restore).transpose(1, 2).unflatten(2, cells)
        torch.testing.assert_close(ours[name], expected, **CLOSE)
    weights = kept["weights"][0]  # heads, queries, keys
    before = weights.shape[1] - count
    assert before == {"dinov2-reg-b": 5, "dinov3-s": 5, "siglip2-b16": 0}.get(model.spec.name.partition(":")[2], 1)
    order = torch.arange(count) if restore is None else restore[0]
    keys = weights[:, :, before:][:, :, order]  # heads, queries, patches
    among = keys[:, before:][:, order].transpose(1, 2)  # heads, keys, queries
    torch.testing.assert_close(ours["block1.self.map"][0].flatten(1), among.mean(0), **CLOSE)
    torch.testing.assert_close(ours["block1.self.map.heads"][0].flatten(1), among.flatten(0, 1), **CLOSE)
    assert ("block1.cls.map" in ours) == (before > 0)
    if before:
        torch.testing.assert_close(ours["block1.cls.map"][0].flatten(), keys[:, 0].mean(0), **CLOSE)
        torch.testing.assert_close(ours["block1.cls.map.heads"][0].flatten(1), keys[:, 0], **CLOSE)


def test_half_precision_and_the_untrained_control_read_too(model):
    hw = [3 * model.spec.multiple, 2 * model.spec.multiple]
    last = select(["last"], model.taps)
    latent, condition = model.encode_image(pixels_of(hw)), model.encode_prompt([""])
    exact = model.denoise(latent, 0, condition, last).maps["last"]
    half = shiftless.load(model.spec.name, device="cpu", dtype="bf16")
    rounded = half.denoise(latent, 0, condition, last).maps["last"].float()
    assert torch.nn.functional.cosine_similarity(rounded, exact, dim=1).min() > 0.99
    other = untrained(model, seed=1)
    assert other.fingerprint != model.fingerprint == half.fingerprint
    assert not torch.allclose(other.denoise(latent, 0, condition, last).maps["last"], exact, atol=1e-2)


@pytest.mark.parametrize("name", ["dino-b8", "dinov2-g", "dinov3-l", "mae-l", "clip-l14", "siglip2-so400m-384"])
def test_listed_taps_are_those_of_the_real_network(name):
    """A whole forward pass of the full-size network on the meta device: shapes without weights or time."""
    adapter, settings, listed = family("vit"), models()[name]["network"], taps(name)
    patch, names = settings["patch_size"], adapter.names(adapter.config(settings).to_dict())
    with torch.device("meta"):
        network = adapter.class_of(settings)(adapter.config(settings), **adapter.options(settings))
        heads = settings["num_attention_heads"]
        layout = PatchLayout((3 * patch, 2 * patch), heads, (names.q, names.k), torch.nn.Identity())
        pixels = torch.empty(1, 3, 3 * patch, 2 * patch)
        options = {} if "dinov" in name else {"interpolate_pos_encoding": True}
        with tapped(network, listed, layout=layout, by_name={tap.name: tap for tap in listed}, stop=False) as captured:
            network(pixel_values=pixels, **options)
    for tap, value in zip(listed, captured.maps().values()):
        expected = tap.channels or 6 * (heads if tap.kind == "heads" else 1)
        assert value.shape == (1, expected, 3, 2), tap
    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    published = {"dino-b8": 86, "dinov2-g": 1136, "dinov3-l": 303, "mae-l": 303, "clip-l14": 303}
    assert parameters == pytest.approx(published.get(name, 428), rel=0.01)


def saved(folder, kind):
    """A folder as repositories hold it, and the network in it that sees."""
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
    seen = {**small, "image_size": 32, "patch_size": 8}
    t = transformers
    if kind == "classifier":
        whole = t.ViTForImageClassification(t.ViTConfig(**seen))
        inner = whole.vit
    elif kind == "pretraining":
        decoder = {f"decoder_{key}": value for key, value in small.items()}
        whole = t.ViTMAEForPreTraining(t.ViTMAEConfig(**seen, **decoder))
        inner = whole.vit
    else:
        text = {**small, "vocab_size": 20}
        config, made = (t.CLIPConfig, t.CLIPModel) if kind == "clip" else (t.SiglipConfig, t.SiglipModel)
        whole = made(config(text_config=text, vision_config=seen))
        inner = whole.vision_model
    whole.save_pretrained(folder)
    return inner.eval()


@pytest.mark.parametrize("kind", ["classifier", "pretraining", "clip", "siglip"])
def test_a_repository_of_more_than_the_network_gives_its_features(kind, tmp_path):
    inner = saved(tmp_path, kind)
    settings = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3], "size": {"height": 24, "width": 24}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    model = shiftless.load(tmp_path, device="cpu", dtype="fp32")
    assert (model.spec.family, model.spec.size, model.spec.multiple) == ("vit", 32, 8)
    assert taps(tmp_path) == model.taps
    pixels = pixels_of((24, 40))
    ours = model.denoise(model.encode_image(pixels), 0, model.encode_prompt([""]), select(["block1"], model.taps)).maps
    inner.config.mask_ratio = 0.0
    kept, restore = plain(inner, pixels, settings["image_mean"], settings["image_std"])
    expected = patches(kept["block1"], 15, restore).transpose(1, 2).unflatten(2, (3, 5))
    torch.testing.assert_close(ours["block1"], expected, **CLOSE)
    before = model.fingerprint
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**settings, "image_std": [0.5] * 3}))
    assert shiftless.load(tmp_path, device="cpu", dtype="fp32").fingerprint != before


@pytest.mark.parametrize("name", ["dinov2-s", "clip-b16", "siglip2-b16"])
def test_a_folder_without_preprocessing_has_that_of_its_kind(name, tmp_path):
    twin = shiftless.load(f"twin:{name}", device="cpu", dtype="fp32")
    twin.denoiser.save_pretrained(tmp_path)
    read = shiftless.load(tmp_path, device="cpu", dtype="fp32").prepared
    assert (read.mean, read.std) == (twin.prepared.mean, twin.prepared.std)


def test_a_picture_of_any_shape_is_read_by_default_after_the_last_norm():
    maps = shiftless.extract("twin:dinov2-s", PICTURE)
    assert list(maps) == ["last"]
    assert maps.frame.fed == (42, 56)
    assert maps["last"].shape == (1, 32, 3, 4)


def test_recipes_that_differ_in_noise_alone_are_read_once():
    rows: list[int] = []
    model = shiftless.load("twin:dino-s16", device="cpu", dtype="fp32")
    base = shiftless.Recipe(timestep=0, taps=("last",))
    changes = {"timestep": 261, "seed": 3, "ensemble": 8, "latent": "sample", "scheduler": "pndm-reference"}
    recipes = [base, *(base.but(**{name: value}) for name, value in changes.items())]
    bucket = shiftless.extract(Counted(model, rows.append), PICTURE, recipes)
    assert rows == [1]
    assert calls(recipes, model.spec) == 1
    assert [maps.recipe for maps in bucket] == recipes
    assert all(torch.equal(maps["last"], bucket[0]["last"]) for maps in bucket)
    assert len(shiftless.extract(model, PICTURE, [base, base.but(fit="squash")])) == 2
    assert calls([base, base.but(fit="squash")], model.spec) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "a horse"}, "takes no text, and the recipe's prompt is 'a horse'; leave the prompt out"),
        ({"control": "canny"}, "control cannot steer a model of the vit family"),
        ({"lora": "a.safetensors"}, "lora cannot steer a model of the vit family"),
        ({"timestep": 50, "start": 90}, "start cannot steer a model of the vit family"),
        ({"timestep": 50, "noise": "invert"}, "takes no noise, and noise='invert' asks for some; leave noise out"),
        ({"taps": ("up1",)}, "no tap 'up1'"),
    ],
)
def test_what_it_does_not_take_is_one_line(changes, message):
    recipe = shiftless.Recipe(timestep=0, taps=("last",)).but(**changes)
    with pytest.raises(shiftless.BadInput, match=message) as raised:
        shiftless.extract("twin:dino-s16", PICTURE, recipe)
    assert "\n" not in str(raised.value)


def test_content_shift_is_not_measured_of_it():
    with pytest.raises(shiftless.BadInput, match="takes no noise, so that nothing shifts; audit a diffusion model"):
        shiftless.audit(shiftless.load("twin:dino-s16"), [PICTURE], [shiftless.Recipe(taps=("last",), label="a")])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "vit", "num_hidden_layers": 500}, "'num_hidden_layers' is 500, but the weights hold 3 layers"),
        ({"model_type": "vit", "hidden_size": "wide"}, "not a vision model that can be loaded"),
        ({"model_type": "vit", "hidden_size": 64}, "not a vision model that can be loaded"),
        ({"model_type": "convnext"}, 'a model of type "convnext"'),
    ],
)
def test_a_broken_folder_is_one_line(tmp_path, config, message):
    family("vit").twin_parts(models()["dino-s16"])["."].save_pretrained(tmp_path)
    whole = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**whole, **config}))
    with pytest.raises(shiftless.BadInput, match=message) as raised:
        shiftless.load(tmp_path, device="cpu")
    assert "\n" not in str(raised.value)
