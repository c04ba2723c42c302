"""Models for inpainting: what their UNet is fed is what diffusers' own pipeline feeds it, and they are read as any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionControlNetInpaintPipeline, StableDiffusionInpaintPipeline
from safetensors.torch import save_file

import shiftless
from shiftless import BadInput, Recipe
from shiftless.auditing.candidates import candidates
from shiftless.backbones.fixed_batch import FixedBatch
from shiftless.backbones.random_parts import save_parts
from shiftless.backbones.registry import models, taps, untrained
from shiftless.conditions.condition import Steer
from shiftless.conditions.inpaint import keeping
from shiftless.image import open_photo, to_pixels
from shiftless.reading.inputs import frame_of
from shiftless.reading.predicted import predictions
from shiftless.taps.names import select
from tests.conditions.lora_writers import CROSS_Q, low_rank, peft

NAMES = ("sd15-inpainting", "sd2-inpainting", "sdxl-inpainting")
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
PROMPT = "a horse"
KEEP = Recipe(taps=("up1",), inpaint="keep", size=128)
BARE = KEEP.but(inpaint="")


@pytest.fixture(scope="module")
def twin():
    return shiftless.load("twin:sd15-inpainting", device="cpu", dtype="fp32")


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return shiftless.load(f"twin:{request.param}", device="cpu", dtype="fp32")


def inputs(unet, run):
    """What the UNet's first layer was given during each call of `run`."""
    kept = []
    handle = unet.conv_in.register_forward_pre_hook(lambda _module, given: kept.append(given[0].clone()))
    run()
    handle.remove()
    return kept


def pixels_of(model, picture=PICTURE):
    photo = open_photo(picture)
    return to_pixels(photo, frame_of(model.spec, photo, KEEP))


def pipeline_of(model, kind=StableDiffusionInpaintPipeline, **more):
    return kind(
        vae=model.vae, text_encoder=model.text_encoder, tokenizer=model.tokenizer, unet=model.unet,
        scheduler=model._scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False, **more,
    )  # fmt: skip


@pytest.mark.parametrize(("white", "inpaint"), [(0.0, "keep"), (1.0, "all")])
def test_the_network_is_fed_what_diffusers_own_pipeline_feeds_it(twin, white, inpaint):
    pipeline = pipeline_of(twin)
    pipeline.set_progress_bar_config(disable=True)
    pixels, noisy = pixels_of(twin), torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(1))
    theirs, predicted = [], []
    handles = [
        twin.unet.register_forward_pre_hook(lambda _module, given: theirs.append(given[:2])),
        twin.unet.register_forward_hook(lambda _module, _given, out: predicted.append(out[0])),
    ]
    pipeline(
        PROMPT, (pixels + 1) / 2, torch.full((1, 1, 64, 128), white), height=64, width=128, num_inference_steps=1,
        guidance_scale=1.0, latents=noisy, generator=torch.Generator().manual_seed(2), output_type="latent",
    )  # fmt: skip
    for handle in handles:
        handle.remove()
    fed, timestep = theirs[0]
    drawn = torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(2))  # the pipeline samples the posterior
    condition = twin.encode_prompt([PROMPT])
    if inpaint == "keep":
        condition.extra.update(keeping(twin.encode_image(pixels, latent="sample", noise=drawn)))
    ours = inputs(twin.unet, lambda: predicted.append(twin.denoise(fed[:, :4], int(timestep), condition).prediction))
    expected = fed.clone()
    if inpaint == "all":  # of an image of which nothing is left we take the posterior's mean
        std = twin.vae.encode(torch.zeros_like(pixels)).latent_dist.std
        expected[:, 5:] -= std * drawn * twin.vae.config.scaling_factor
    torch.testing.assert_close(ours[0], expected, **CLOSE)
    assert fed[:, 4].unique().item() == white
    if inpaint == "keep":
        torch.testing.assert_close(predicted[1], predicted[0], **CLOSE)


def test_features_and_predictions_are_those_of_a_plain_call(model):
    """The nine channels built by hand: noisy latent, mask, and the encoded image times what is not masked."""
    pixels = pixels_of(model)
    clean = model.encode_image(pixels)
    noisy = torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(0))
    condition, kept = model.encode_prompt([PROMPT], size=(64, 128)), []
    handle = model.unet.up_blocks[1].register_forward_hook(lambda _module, _given, out: kept.append(out))
    added = {name: condition.extra[name] for name in ("text_embeds", "time_ids") if name in condition.extra}
    for white in (0.0, 1.0):
        mask = torch.full((1, 1, 64, 128), white)
        with torch.no_grad():
            masked = model.vae.encode(pixels * (mask < 0.5)).latent_dist.mean * model.vae.config.scaling_factor
            cells = torch.nn.functional.interpolate(mask, (8, 16))
            plain = model.unet(torch.cat([noisy, cells, masked], 1), 50, condition.embeds, added_cond_kwargs=added)
        steered = condition if white else replace(condition, extra={**condition.extra, **keeping(clean)})
        ours = model.denoise(noisy, 50, steered, select(["up1"], model.taps), full=True)
        torch.testing.assert_close(ours.prediction, plain.sample, **CLOSE)
        torch.testing.assert_close(ours.maps["up1"], kept[-2], **CLOSE)
    handle.remove()
    assert "inpaint" in model.spec.techniques
    assert taps(model.spec.name.removeprefix("twin:")) != ()


def test_a_recipe_says_what_the_mask_says(twin):
    clean = twin.encode_image(pixels_of(twin))
    kept, plain = (inputs(twin.unet, lambda r=r: shiftless.extract(twin, PICTURE, r))[0] for r in (KEEP, BARE))
    assert (kept[:, 4].unique().item(), plain[:, 4].unique().item()) == (0, 1)
    torch.testing.assert_close(kept[:, 5:], clean, **CLOSE)
    assert torch.equal(kept[:, :4], plain[:, :4])
    clean = KEEP.but(latent="sample", timestep=0, noise="invert")  # nothing is added
    sampled = inputs(twin.unet, lambda: shiftless.extract(twin, PICTURE, clean))[0]
    assert torch.equal(sampled[:, 5:], sampled[:, :4])
    assert not torch.allclose(sampled[:, 5:], kept[:, 5:], atol=1e-3)
    encoded = []
    handle = twin.vae.encoder.register_forward_hook(lambda *_: encoded.append(1))
    bucket = shiftless.extract(twin, PICTURE, [KEEP, KEEP.but(seed=1), KEEP.but(timestep=200)])
    handle.remove()
    assert len(encoded) == 1  # the image that is shown is the one that was noised
    assert not torch.allclose(bucket[0]["up1"], shiftless.extract(twin, PICTURE, BARE)["up1"], atol=1e-3)
    both = shiftless.extract(twin, PICTURE, [BARE, BARE.but(inpaint="all")])
    assert torch.equal(both[0]["up1"], both[1]["up1"])


def test_it_composes_with_every_other_technique(twin, tmp_path):
    save_file(peft(low_rank(twin, (CROSS_Q,))), tmp_path / "look.safetensors")
    names = {"control": "canny", "image_prompt": "ip-adapter", "lora": str(tmp_path / "look.safetensors")}
    steered = KEEP.but(prompt=PROMPT, start=90, steps=2, ensemble=2, latent="sample", **names)
    fed = inputs(twin.unet, lambda: shiftless.extract(twin, PICTURE, steered))
    assert [one.shape for one in fed] == [(2, 9, 8, 16)] * 3  # two draws on a walk of two steps and the reading
    assert all(one[:, 4].any().item() is False for one in fed)
    assert all(torch.equal(one[:, 5:], fed[0][:, 5:]) for one in fed)
    assert not torch.equal(fed[0][0, 5:], fed[0][1, 5:])  # each draw is shown its own sample
    for recipe in (KEEP.but(timestep=200, noise="invert", steps=4), KEEP.but(scheduler="pndm-reference", start=60)):
        assert torch.isfinite(shiftless.extract(twin, PICTURE, recipe)["up1"]).all()
    plain, shown = next(predictions(twin, [PICTURE], [BARE, KEEP], finish=2))
    assert not torch.allclose(plain.finished, shown.finished, atol=1e-3)


def test_a_controlnet_takes_the_latent_alone_as_in_diffusers_pipeline(twin):
    net = twin.control("canny").net
    assert net.config.in_channels == 4
    pipeline = pipeline_of(twin, StableDiffusionControlNetInpaintPipeline, controlnet=net)
    pipeline.set_progress_bar_config(disable=True)
    pixels, edges = pixels_of(twin), torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    noisy, kept = torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(1)), []
    handles = [
        twin.unet.register_forward_pre_hook(lambda _module, given: kept.append(given[:2])),
        twin.unet.register_forward_hook(lambda _module, _given, out: kept.append(out[0])),
    ]
    pipeline(
        PROMPT, (pixels + 1) / 2, torch.zeros(1, 1, 64, 128), edges, height=64, width=128, num_inference_steps=1,
        guidance_scale=1.0, latents=noisy, generator=torch.Generator().manual_seed(2), output_type="latent",
        controlnet_conditioning_scale=0.7,
    )  # fmt: skip
    for handle in handles:
        handle.remove()
    (fed, timestep), theirs = kept[:2]
    condition = replace(twin.encode_prompt([PROMPT]), steers=(Steer(net, edges, 0.7),))
    condition.extra.update(keeping(fed[:, 5:]))
    ours = twin.denoise(fed[:, :4], int(timestep), condition).prediction
    torch.testing.assert_close(ours, theirs, **CLOSE)


def test_batches_blocks_and_sizes_change_nothing(twin):
    others = [PICTURE, PICTURE[::-1].copy(), PICTURE[:, :64].copy()]
    recipes = [KEEP, BARE]
    together = shiftless.extract(twin, others, recipes, batch=3)
    for picture, bucket in zip(others, together):
        alone = shiftless.extract(twin, picture, recipes, batch=1)
        for one, other in zip(bucket, alone):
            torch.testing.assert_close(one["up1"], other["up1"], **CLOSE)
    fixed = FixedBatch(shiftless.load("twin:sd15-inpainting", device="cpu", dtype="bf16"))
    some = [next(predictions(fixed, part, recipes)) for part in (others[:2], others[:1])]
    assert all(torch.equal(one.once, other.once) for one, other in zip(*some))


def test_folders_and_random_weights_are_for_inpainting_too(twin, tmp_path):
    save_parts(type(twin).twin_parts(models()["sd15-inpainting"]), tmp_path / "model")
    saved = shiftless.load(tmp_path / "model", device="cpu", dtype="fp32")
    assert saved.spec.techniques == twin.spec.techniques
    ours, theirs = (shiftless.extract(one, PICTURE, KEEP)["up1"] for one in (saved, twin))
    torch.testing.assert_close(ours, theirs, **CLOSE)
    other = untrained(saved)
    assert other.spec.techniques == saved.spec.techniques
    assert not torch.allclose(shiftless.extract(other, PICTURE, KEEP)["up1"], ours, atol=1e-3)
    with torch.no_grad():
        before = shiftless.extract(saved, PICTURE, BARE)["up1"]
        saved.vae.encoder.conv_out.bias.add_(1)
        assert not torch.equal(shiftless.extract(saved, PICTURE, BARE.but(timestep=51))["up1"], before)


def test_an_audit_tries_it_beside_the_others(twin):
    tried = candidates(twin, Recipe(timestep=300))
    assert [one.inpaint for one in tried if one.inpaint] == ["keep", "keep"]  # alone, and with all that is at hand
    named = candidates(twin, Recipe(timestep=300), inpaints=["keep"], controls=["canny"])
    result = shiftless.audit(twin, [PICTURE], named, finish=0)
    assert [recipe.label for recipe in result.recipes] == [
        "t=300", "t=300 inpaint keep", "t=300 canny", "t=300 canny, inpaint keep"
    ]  # fmt: skip
    assert result.baselines == (0, 0, 0, 0)
    assert all("inpaint" not in one.to_dict() for one in candidates(twin, KEEP, prompts=[PROMPT]))


@pytest.mark.parametrize("inpaint", ["keep", "all"])
def test_a_model_that_takes_no_mask_refuses_it_in_one_line(inpaint):
    for name in ("sd15", "pixart-alpha"):
        other = shiftless.load(f"twin:{name}", device="cpu", dtype="fp32")
        with pytest.raises(BadInput, match="inpaint cannot steer a model of the") as error:
            shiftless.extract(other, PICTURE, Recipe(taps=(other.taps[0].name,), inpaint=inpaint))
        assert "\n" not in str(error.value)
        with pytest.raises(BadInput, match="inpaint cannot steer"):
            candidates(other, Recipe(taps=(other.taps[0].name,)), inpaints=[inpaint])
