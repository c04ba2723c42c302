"""The library on a GPU, without one: a stand-in device that refuses float64 and operands that lie elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import shiftless
from miniworld.tables.part_probe import PartProbe
from shiftless import Bucket, FeatureMaps, Recipe
from shiftless.backbones.perceptual import load_perceptual_model
from shiftless.backbones.twin_controls import twin_transformer_control
from shiftless.backbones.walk import finish, invert, reference_walk, walk
from shiftless.conditions.caption import load_captioner
from shiftless.conditions.condition import Steer
from shiftless.conditions.unet_residuals import residuals
from shiftless.image import Frame, open_photo
from shiftless.taps.names import Tap
from shiftless.tasks.correspondence import heat
from shiftless.tasks.pairfeatures import PairFeatures
from shiftless.training.head import fit
from shiftless.training.lora import Settings, train
from shiftless.view.pca import pca_rgb
from tests.simulated_device import OnDevice, simulated


@pytest.fixture(params=["mps:0", "cuda:1"])
def fake(request, monkeypatch) -> Iterator[torch.device]:
    """An Apple device, and the second of two GPUs."""
    with simulated(request.param, monkeypatch) as device:
        yield device


def test_the_stand_in_itself(fake):
    one = torch.ones(2, 3, device=fake)
    assert isinstance(one, OnDevice)
    assert one.device == fake
    assert torch.tensor([1.0], device=fake).device == fake
    assert (one + 1).sum().item() == 12
    assert (one * torch.tensor(2.0)).cpu().tolist() == [[2.0] * 3] * 2
    with pytest.raises(TypeError, match="float64"):
        one.double()
    with pytest.raises(TypeError, match="float64"):
        torch.zeros(2, device=fake, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="operands"):
        one + torch.ones(2, 3)
    with pytest.raises((TypeError, RuntimeError)):
        one.numpy()


def test_the_stand_in_takes_gradients(fake):
    layer = torch.nn.Linear(3, 2).to(fake)
    one = torch.ones(2, 3, device=fake)
    assert {layer.weight.device, layer(one).device} == {fake}
    layer(one).sum().backward()
    assert layer.weight.grad.device == fake


PICTURES = [np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8) for i in range(2)]
POINTS = [(5, 5), (20, 30)]


@pytest.fixture(scope="module")
def cpu():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32", size=64)


@pytest.fixture
def model(fake):
    return shiftless.load("twin:sd15", device=fake, dtype="fp32", size=64)


@pytest.fixture(scope="module")
def lora(goldens):
    return str(goldens / "tiny-lora" / "pytorch_lora_weights.safetensors")


def moved(maps: FeatureMaps, device: torch.device) -> FeatureMaps:
    return replace(maps, maps={tap: value.to(device) for tap, value in maps.items()})


def on_the_cpu(value: torch.Tensor) -> bool:
    return value.device.type == "cpu" and type(value) is torch.Tensor


@pytest.fixture(scope="module")
def techniques(lora):
    """Recipes of every way to read."""
    return [
        Recipe(taps=("up1", "up.cross.map.s16:horse"), prompt="a horse", ensemble=2),
        Recipe(taps=("up0",), latent="sample", prompt="a horse", lora=(lora,)),
        Recipe(taps=("up1", "up1.attn0.block0.self.map.heads"), control=("canny",), start=60, steps=1),
        Recipe(taps=("up1",), start=51, timestep=50, scheduler="pndm-reference"),
        Recipe(taps=("up1",), timestep=40, steps=1, noise="invert"),
    ]


@pytest.fixture(scope="module")
def here(cpu, techniques):
    """What they read on the CPU."""
    return shiftless.extract(cpu, PICTURES[0], techniques)


def test_features_are_those_of_the_cpu_and_leave_the_device(model, techniques, here):
    there = shiftless.extract(model, PICTURES[0], techniques)
    for one, other in zip(there, here, strict=True):
        for tap in other:
            assert on_the_cpu(one[tap])
            torch.testing.assert_close(one[tap], other[tap])


@pytest.mark.parametrize(("fake", "how"), [("mps:0", "parts"), ("cuda:1", "layers")], indirect=["fake"])
def test_parts_that_are_offloaded_come_by_turns(fake, cpu, lora, how):
    model = shiftless.load("twin:sd15", device=fake, dtype="fp32", size=64, offload=how)
    recipe = Recipe(taps=("mid",), prompt="a horse", lora=(lora,), control=("canny",))
    there, here = (shiftless.extract(one, PICTURES[0], recipe) for one in (model, cpu))
    torch.testing.assert_close(there["mid"], here["mid"])
    assert [places(model.networks[part]) for part in ("vae", "text_encoder")] == [{"cpu"}, {"cpu"}]
    assert places(model.unet) == ({fake.type} if how == "parts" else {fake.type, "cpu"})
    assert model.fingerprint == cpu.fingerprint
    model.decode(torch.rand(1, 4, 2, 2))
    assert [places(one) for one in (model.unet, model.vae)] == [{"cpu"}, {fake.type}]
    with torch.no_grad():
        model.vae.decoder.conv_out.bias.add_(1)  # a change on the device is kept, and seen
    model.encode_prompt(["a sheep"])
    assert places(model.vae) == {"cpu"}
    assert model.fingerprint != cpu.fingerprint


@pytest.mark.parametrize(("fake", "how"), [("mps:0", ""), ("cuda:1", "layers")], indirect=["fake"])
def test_masks_and_learned_words_are_there_too(fake, how, tmp_path):
    save_file({"<toy>": torch.randn(2, 32, generator=torch.manual_seed(0))}, tmp_path / "toy.safetensors")
    word = {"textual_inversion": str(tmp_path / "toy.safetensors"), "prompt": "a <toy>", "taps": ("up1",)}
    recipes = [Recipe(**word), Recipe(**word, inpaint="keep", ensemble=2, latent="sample", start=60, steps=1)]
    there, here = (
        shiftless.extract(
            shiftless.load("twin:sd15-inpainting", device=device, dtype="fp32", size=64, offload=offload),
            PICTURES[0],
            recipes,
        )
        for device, offload in ((fake, how), ("cpu", ""))
    )
    for one, other in zip(there, here, strict=True):
        assert on_the_cpu(one["up1"])
        torch.testing.assert_close(one["up1"], other["up1"], atol=1e-4, rtol=1e-4)


def places(network: torch.nn.Module) -> set[str]:
    return {value.device.type for value in network.state_dict().values()}


@pytest.mark.parametrize("fake", ["mps:0"], indirect=True)  # on CUDA, diffusers computes positions in float64
@pytest.mark.parametrize("name", ["twin:qwen-image", "twin:lumina2"])
def test_transformers_with_complex_rotations_read_there_as_on_the_cpu(fake, name):
    recipe = Recipe(timestep=200, taps=("block1", "cross.map"), prompt="a horse")
    models = (shiftless.load(name, device=where, dtype="fp32", size=32) for where in (fake, "cpu"))
    there, here = (shiftless.extract(one, PICTURES[0], recipe) for one in models)
    for tap in here:
        torch.testing.assert_close(there[tap], here[tap], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("fake", "how"), [("mps:0", ""), ("mps:0", "layers")], indirect=["fake"])
def test_a_modulation_whose_table_waits_elsewhere_is_that_of_the_cpu(fake, how):
    recipe = Recipe(taps=("block1.in",), modulate=True, discard="auto", ensemble=2, prompt="a horse", size=32)
    places = ((fake, how), ("cpu", ""))
    models = (shiftless.load("twin:pixart-sigma", device=on, dtype="fp32", offload=o) for on, o in places)
    there, here = (shiftless.extract(one, PICTURES[0], recipe)["block1.in"] for one in models)
    torch.testing.assert_close(there, here, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fake", ["mps:0"], indirect=True)  # on CUDA, diffusers computes positions in float64
@pytest.mark.parametrize(("name", "tap", "how"), [("sd3-medium", "block1", "layers"), ("flux-schnell", "double1", "")])
def test_controls_of_transformers_steer_there_as_on_the_cpu(fake, name, tap, how):
    recipe, places = Recipe(taps=(tap,), control=("canny",)), ((fake, how), ("cpu", ""))
    models = [shiftless.load(f"twin:{name}", device=on, dtype="fp32", size=64, offload=o) for on, o in places]
    if name == "sd3-medium":  # Stability's own ControlNets take positions from the denoiser
        settings = {"use_pos_embed": False, "joint_attention_dim": None, "num_layers": 1}
        for model in models:
            net = twin_transformer_control("diffusers:SD3ControlNetModel", model.denoiser, **settings)
            model._own_controls = {"canny": partial(deepcopy, net)}
    there, here = (shiftless.extract(one, PICTURES[0], recipe)[tap] for one in models)
    torch.testing.assert_close(there, here, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fake", ["cuda:1"], indirect=True)
def test_adapters_and_unions_give_there_what_they_give_on_the_cpu(fake):
    sdxl = shiftless.load("twin:sdxl", device="cpu", dtype="fp32")
    controls = [sdxl.control(name) for name in ("t2i-canny", "union-canny", "union-tile")]
    condition, image, latent = sdxl.encode_prompt(["a horse"]), torch.rand(1, 3, 64, 64), torch.randn(1, 4, 8, 8)
    here = residuals([Steer(one.net, image, 0.5, one.mode) for one in controls], latent, 50, condition.embeds,
                     condition.extra)  # fmt: skip
    nets = {one.net: deepcopy(one.net).to(fake) for one in controls}
    steers = [Steer(nets[one.net], image, 0.5, one.mode) for one in controls]
    told = {name: value.to(fake) for name, value in condition.extra.items()}
    there = residuals(steers, latent.to(fake), 50, condition.embeds.to(fake), told)
    for name in here:
        for ours, theirs in zip(there[name], here[name], strict=True):
            torch.testing.assert_close(ours.to("cpu"), theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("refine", ["upsample", "cell", "soft"])
def test_maps_on_a_device_match_as_on_the_cpu(fake, cpu, refine):
    a, b = shiftless.extract(cpu, PICTURES, Recipe(taps=("up1",)))
    here = shiftless.match(a, b, POINTS, refine=refine, mutual=True)
    for one, other in ((moved(a, fake), moved(b, fake)), (moved(a, fake), b), (a, moved(b, fake))):
        there = shiftless.match(one, other, POINTS, refine=refine, mutual=True)
        np.testing.assert_allclose(there.points, here.points, atol=1e-4)
        np.testing.assert_array_equal(there.mutual, here.mutual)
        np.testing.assert_allclose(heat(one, other, POINTS[0]), heat(a, b, POINTS[0]), atol=1e-5)


def test_maps_on_a_device_are_flipped_as_on_the_cpu(fake, cpu):
    pictures = [PICTURES[0], shiftless.mirror(PICTURES[0])]
    a, turned = shiftless.extract(cpu, pictures, Recipe(taps=("up1",)))
    here = shiftless.match(a, turned, POINTS, flip="auto", mirrored=turned, mutual=True)
    assert here.flipped
    for one, other, mirrored in ((fake, fake, fake), ("cpu", fake, "cpu"), (fake, "cpu", "cpu")):
        there = shiftless.match(
            moved(a, one), moved(turned, other), POINTS, flip="auto", mirrored=moved(turned, mirrored)
        )
        np.testing.assert_allclose(there.points, here.points, atol=1e-4)
        np.testing.assert_allclose(there.fits, here.fits, atol=1e-5)


def test_maps_on_a_device_are_shown_and_saved_as_on_the_cpu(fake, cpu, tmp_path):
    maps = shiftless.extract(cpu, PICTURES[0], Recipe(taps=("up1",)))
    there = moved(maps, fake)
    np.testing.assert_array_equal(pca_rgb([there["up1"]])[0], pca_rgb([maps["up1"]])[0])
    assert torch.equal(FeatureMaps.open(there.save(tmp_path / "a.safetensors"))["up1"], maps["up1"])
    torch.testing.assert_close(there.at(POINTS).cpu(), maps.at(POINTS))


@pytest.mark.parametrize("fake", ["mps:0"], indirect=True)
def test_an_audit_is_that_of_the_cpu(model, cpu):
    recipes = [Recipe(timestep=300), Recipe(timestep=300, control=("canny",), start=340, steps=1)]
    options = {"draws": 2, "finish": 1}
    there, here = (shiftless.audit(one, PICTURES, recipes, **options) for one in (model, cpu))
    for measure in here.measures:
        np.testing.assert_allclose(there.scores[measure], here.scores[measure], rtol=2e-2)  # edges may flip


def kept(device: torch.device, readings: int = 2) -> PairFeatures:
    """Pairs whose maps lie on a device."""
    tap, frame = {"up1": Tap("up1", 8, 8, "")}, Frame((32, 32), (32, 32))
    torch.manual_seed(0)

    def bucket() -> Bucket:
        return Bucket(
            tuple(FeatureMaps({"up1": torch.rand(1, 8, 4, 4).to(device)}, tap, frame) for _ in range(readings))
        )

    return PairFeatures.gather([(bucket(), bucket(), POINTS, POINTS) for _ in range(2)])


@pytest.mark.parametrize("negatives", ["grid", "points"])
@pytest.mark.parametrize(
    ("amalgamator", "options"),
    [("gate", {}), ("gate-pixel", {}), ("hyper", {}), ("concat", {"components": 3}), ("mean", {})],
)
def test_a_head_is_fitted_on_the_device_from_pairs_kept_on_the_cpu(fake, amalgamator, options, negatives):
    pairs = kept(fake)
    assert all(on_the_cpu(value) for side in pairs.sides() for value in (side.readings, side.attention))
    result = fit(pairs, pairs, amalgamator=amalgamator, options=options, conv=amalgamator != "mean", steps=2,
                negatives=negatives, device=fake)  # fmt: skip
    assert all(on_the_cpu(value) for value in result.head.state_dict().values())
    side = pairs[0].source
    here = result.head.apply_to(side.readings, side.attention, side.frame, side.name)
    there = result.head.to(fake).apply_to(side.readings, side.attention, side.frame, side.name)
    torch.testing.assert_close(there[amalgamator].cpu(), here[amalgamator])


@pytest.mark.parametrize("fake", ["cuda:1"], indirect=True)
def test_latents_may_come_from_the_cpu(model, cpu):
    """`walk` and its like take a latent wherever it lies, as the demo gives it."""
    latent = torch.randn(1, 4, 8, 8, generator=torch.manual_seed(0))
    for move in (
        lambda one: walk(one, latent, 60, 50, 2, one.encode_prompt([""])),
        lambda one: invert(one, latent, 0, 50, 2, one.encode_prompt([""])),
        lambda one: reference_walk(one, latent, 51, 50, one.encode_prompt([""])),
        lambda one: finish(one, latent, 60, 2, one.encode_prompt([""])),
        lambda one: one.predict_clean(latent, one.denoise(latent, 60, one.encode_prompt([""])).prediction, 60),
    ):
        torch.testing.assert_close(move(model).cpu(), move(cpu), atol=1e-4, rtol=1e-4)


def test_a_probe_of_parts_learns_from_maps_on_a_device(fake):
    parts = np.zeros((16, 16), np.uint8)
    parts[:, 8:] = 1
    probe, maps = PartProbe(2), torch.linspace(-1, 1, 8).expand(1, 1, 8, 8).to(fake)
    probe.learn(maps, parts)
    probe.score(maps, parts)
    assert probe.miou() == 1


@pytest.mark.parametrize("fake", ["mps:0"], indirect=True)
def test_captions_and_patch_tokens_are_those_of_the_cpu(fake, tmp_path):
    from transformers import ViTConfig, ViTModel

    vit = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8)
    ViTModel(vit).save_pretrained(tmp_path)
    photo = open_photo(PICTURES[0])
    there, here = (load_captioner("mini", device=place) for place in (fake, "cpu"))
    assert there.caption([photo]) == here.caption([photo])
    picture = PICTURES[0] / 255.0
    judge = load_perceptual_model(tmp_path, device=fake)
    assert judge.device == fake
    result = judge.look(picture)
    assert on_the_cpu(result)
    torch.testing.assert_close(
        result, load_perceptual_model(tmp_path, device="cpu").look(picture), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("fake", ["cuda:1"], indirect=True)
def test_a_lora_is_trained_there(model, cpu, tmp_path):
    settings = Settings(rank=2, alpha=4, batch=1, read_at=(100,), epochs=None, steps=2, checks=1, repeats=1)
    before = model.unet.conv_in.weight.cpu()
    done = train(model, [255 - PICTURES[0], *PICTURES, PICTURES[0][::-1]], tmp_path / "a.safetensors", settings,
                 captions=["a horse"] * 4)  # fmt: skip
    assert done.path.is_file()
    assert torch.equal(model.unet.conv_in.weight.cpu(), before)
    there, here = (shiftless.extract(one, PICTURES[0], Recipe(lora=(str(done.path),))) for one in (model, cpu))
    torch.testing.assert_close(there["up1"], here["up1"])
