"""Image prompts: what diffusers' own pipeline makes of an IP-Adapter, and a model that is as it was afterwards."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import shiftless
from shiftless import BadInput, Recipe
from shiftless.auditing.candidates import candidates
from shiftless.backbones.random_parts import image_adapter
from shiftless.backbones.registry import models
from shiftless.backbones.twins import twin_parts
from shiftless.image import open_photo

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
PROMPT = "a horse"


@pytest.fixture(scope="module")
def twin():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


def write(folder, unet, tokens=False):
    """A repository as it is published: the adapter's file, and the image encoder beside it."""
    made = image_adapter(unet, tokens=tokens)
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"{half}.{name}": value.contiguous() for half, of in made.state.items() for name, value in of.items()}
    save_file(state, folder / "ip-adapter_sd15.safetensors")
    made.encoder.save_pretrained(folder / "image_encoder")
    return folder / "ip-adapter_sd15.safetensors"


@pytest.mark.parametrize("tokens", [False, True])
def test_the_prediction_is_that_of_diffusers_own_loader(twin, tmp_path, tokens):
    from diffusers import DDIMScheduler, StableDiffusionPipeline
    from transformers import CLIPVisionModelWithProjection

    file = write(tmp_path / "models", twin.unet, tokens)
    photo = open_photo(PICTURE)
    latent = torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(0))
    plain = twin.denoise(latent, 50, twin.encode_prompt([PROMPT])).prediction
    adapter = twin.image_prompt(str(file))
    condition = twin.encode_prompt([PROMPT])
    condition.extra["image_prompt0"] = adapter.embed(photo)
    with twin.image_prompted([(str(file), 0.7)]):
        ours = twin.denoise(latent, 50, condition).prediction
    assert (ours - plain).abs().max() > 1e-3  # or nothing would be shown
    assert torch.equal(twin.denoise(latent, 50, twin.encode_prompt([PROMPT])).prediction, plain)

    parts = twin_parts(models()["sd15"])
    parts["scheduler"] = DDIMScheduler()
    pipe = StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    encoder = CLIPVisionModelWithProjection.from_pretrained(tmp_path / "models" / "image_encoder").eval()
    pipe.register_modules(image_encoder=encoder)
    pipe.unet.eval(), pipe.text_encoder.eval()
    pipe.load_ip_adapter(str(tmp_path), subfolder="models", weight_name=file.name)
    pipe.set_ip_adapter_scale(0.7)
    embeds = pipe.prepare_ip_adapter_image_embeds([Image.fromarray(PICTURE)], None, "cpu", 1, False)
    words = pipe.encode_prompt(PROMPT, "cpu", 1, False)[0]
    with torch.no_grad():
        theirs = pipe.unet(latent, 50, words, added_cond_kwargs={"image_embeds": embeds}).sample
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_it_is_a_field_of_a_recipe_and_leaves_the_model_bit_identical(twin):
    before = {name: value.clone() for name, value in twin.unet.state_dict().items()}
    fingerprint, processors = twin.fingerprint, dict(twin.unet.attn_processors)
    recipes = [
        Recipe(taps=("up1",)), Recipe(taps=("up1",), image_prompt="ip-adapter"),
        Recipe(taps=("up1", "up1.attn0.block0.cross.map"), image_prompt="ip-adapter", image_prompt_scale=0.5,
               prompt=PROMPT, control="canny", start=70, steps=2),
    ]  # fmt: skip
    bucket = shiftless.extract(twin, PICTURE, recipes)
    assert not torch.allclose(bucket[0]["up1"], bucket[1]["up1"])
    tokens = bucket[2]["up1.attn0.block0.cross.map"]
    torch.testing.assert_close(tokens.sum(1), torch.ones_like(tokens[:, 0]))  # the words' own attention
    assert bucket[1].origin.adapters[0][0] == "image_prompt ip-adapter"
    assert torch.equal(shiftless.extract(twin, PICTURE, recipes[0])["up1"], bucket[0]["up1"])
    assert (twin.fingerprint, dict(twin.unet.attn_processors)) == (fingerprint, processors)
    after = twin.unet.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_it_depends_on_the_photo_alone_and_not_on_its_batch(twin):
    other = PICTURE[::-1].copy()
    recipe = Recipe(taps=("up1",), image_prompt="ip-adapter")
    together = shiftless.extract(twin, [PICTURE, other], recipe)
    torch.testing.assert_close(together[1]["up1"], shiftless.extract(twin, other, recipe)["up1"], atol=1e-5, rtol=1e-5)
    embed = twin.image_prompt("ip-adapter").embed
    assert not torch.allclose(embed(open_photo(PICTURE)), embed(open_photo(other)))


def test_an_audit_tries_it_beside_the_others(twin):
    tried = candidates(twin, Recipe(timestep=300), image_prompts=["ip-adapter"], controls=["canny"])
    result = shiftless.audit(twin, [PICTURE], tried, finish=0)
    assert [recipe.label for recipe in result.recipes] == [
        "t=300", "t=300 canny", "t=300 image prompt ip-adapter", "t=300 canny, image prompt ip-adapter",
    ]  # fmt: skip
    assert result.baselines == (0, 0, 0, 0)


def test_one_that_lies_in_the_folder_of_its_model_is_known_by_its_name(tmp_path):
    folder = shutil.copytree(shiftless.mini.weights(), tmp_path / "mini", ignore=shutil.ignore_patterns("ip-adapter*"))
    assert shiftless.load(folder, device="cpu").image_prompts() == []
    model = shiftless.load(folder, device="cpu", dtype="fp32")
    write(folder / "ip-adapter", model.unet).rename(folder / "ip-adapter" / "ip-adapter.safetensors")
    model = shiftless.load(folder, device="cpu", dtype="fp32")
    assert model.image_prompts() == ["ip-adapter"]
    plain, steered = (Recipe(taps=("up1",), image_prompt=name) for name in ((), "ip-adapter"))
    assert not torch.allclose(*(bucket["up1"] for bucket in shiftless.extract(model, PICTURE, [plain, steered])))


def test_a_file_of_other_contents_is_read_anew(twin, tmp_path):
    file = write(tmp_path, twin.unet)
    recipe = Recipe(taps=("up1",), image_prompt=str(file))
    first, digest = shiftless.extract(twin, PICTURE, recipe)["up1"], twin.digest("image_prompt", str(file))
    save_file({name: 2 * value for name, value in load_file(file).items()}, file)
    assert twin.digest("image_prompt", str(file)) != digest
    assert not torch.allclose(shiftless.extract(twin, PICTURE, recipe)["up1"], first)


def test_what_cannot_be_taken_is_one_line(twin, tmp_path):
    def says(name, model=twin):
        with pytest.raises(BadInput) as raised:
            shiftless.extract(model, PICTURE, Recipe(image_prompt=str(name)))
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert "no such IP-Adapter; give one of its own (ip-adapter)" in says("other")
    missing = says("someone/never-fetched/models/ip.safetensors")
    assert (
        'shiftless fetch someone/never-fetched --also "models/ip.safetensors" --also "models/image_encoder/*"'
        in missing
    )
    alone = write(tmp_path / "alone", twin.unet)
    own = load_file(alone)
    halved = {name: value[: len(value) // 2] if "_ip." in name else value for name, value in own.items()}
    save_file(halved, alone)
    assert "its layers are not this model's (" in says(alone)
    wide = shiftless.load("twin:sd21", device="cpu", dtype="fp32")
    save_file({"image_proj.proj.weight": torch.zeros(8, 4), "ip_adapter.1.to_k_ip.weight": torch.zeros(4, 7)}, alone)
    assert "this IP-Adapter is for another model (its keys are 7 wide" in says(alone, wide)
    save_file({"lora.weight": torch.zeros(2)}, alone)
    assert "not an IP-Adapter" in says(alone)
    save_file({"image_proj.proj.weight": torch.full((8, 4), torch.nan), "ip_adapter.a": torch.zeros(1)}, alone)
    assert "not finite" in says(alone)
    alone.write_bytes(b"{}")
    assert "not a whole safetensors file" in says(alone)
    (tmp_path / "alone" / "image_encoder" / "config.json").unlink()
    assert "no image_encoder/ beside it" in says(alone)
    pixart = shiftless.load("twin:pixart-alpha", device="cpu", dtype="fp32")
    assert "image_prompt cannot steer a model of the pixart family" in says("ip-adapter", pixart)
