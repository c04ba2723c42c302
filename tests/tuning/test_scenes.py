"""A head and what is tuned beside it: they learn, go on where they were killed, and belong to each other."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from shiftless.backbones.registry import load
from shiftless.conditions.lora import adapted
from shiftless.data.labelledphoto import LabelledPhoto
from shiftless.errors import BadInput
from shiftless.metrics.segmentation import Confusion
from shiftless.reading.extraction import stream
from shiftless.recipe import Recipe
from shiftless.tasks.scenehead import SceneHead
from shiftless.training import scenes as module
from shiftless.training.scenes import fit_scenes
from shiftless.training.scenesettings import SceneSettings
from shiftless.tuning import TunedModel, TunedScenes, TuneSettings, tuned_for, tuning
from tests.training.scenedata import CLASSES, scene

RECIPES = (Recipe(timestep=20, taps=("up0", "up1"), size=64),)
WALK = Recipe(timestep=20, start=40, steps=1, control="canny", taps=("up0", "up1"), size=64)
SETTINGS = SceneSettings(
    steps=4, batch=1, side=64, every=2, lr=1e-3, scales=(1.0, 1.0), flip=False, colour=False, most=1.0
)
LORA = TuneSettings("lora", "tokens", rank=2, alpha=2, tokens=3)
UNET = TuneSettings("unet", "classes", checkpointing=False)


@pytest.fixture(scope="module")
def model():
    return load("twin:sd15", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def labelled():
    one = scene(0)
    return [LabelledPhoto(one.name, one.photo, one.name, one.values, len(CLASSES))]


def fit(model, labelled, out, tuned, settings=SETTINGS, validate=True, recipes=RECIPES):
    """Train, and return what came of it, with the features of the photo as the model in training reads it."""
    with tuning(model, recipes, tuned, CLASSES) as learned:
        source = TunedScenes(learned, recipes, labelled, len(CLASSES), 64, stride=64)
        options = {"validation": source if validate else None, "learned": learned, "device": "cpu"}
        fitted = fit_scenes(source, CLASSES, out, settings, decoder="linear", **options)
        (bucket,) = stream(learned.model, [labelled[0].photo], list(recipes))
    return fitted, bucket


def contents(folder):
    return {
        f"{path.name} {name}": value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()
    }


@pytest.fixture(scope="module", params=[LORA, UNET], ids=["lora and tokens", "unet and classes"])
def trained(request, model, labelled, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "net"
    return request.param, out, *fit(model, labelled, out, request.param, validate=False)


def test_a_run_that_is_killed_goes_on_to_the_same_weights(model, labelled, tmp_path, monkeypatch, trained):
    tuned, whole, _, _ = trained
    learn = module._Training.learn

    def killed(self, *views):
        if self.step == 3:
            raise KeyboardInterrupt
        learn(self, *views)

    with monkeypatch.context() as patch:
        patch.setattr(module._Training, "learn", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(model, labelled, tmp_path / "net", tuned, validate=False)
    assert not (tmp_path / "net").exists()
    with pytest.raises(BadInput, match="a run with another tuning; use --restart"):
        fit(model, labelled, tmp_path / "net", replace(tuned, denoiser_lr=0.5), validate=False)
    fit(model, labelled, tmp_path / "net", tuned, validate=False)
    there, here = contents(tmp_path / "net"), contents(whole)
    assert there.keys() == here.keys()
    for name, value in here.items():  # kernels may add in another order where memory lies otherwise; some are fp16
        torch.testing.assert_close(there[name], value, rtol=2e-3, atol=1e-4, msg=name)


def test_it_learns_and_is_read_again_from_its_folder(model, labelled, trained):
    tuned, out, fitted, live = trained
    losses = [row["loss"] for row in fitted.history]  # running means of one view's, over and over
    assert losses[-1] < losses[0]
    head = SceneHead.from_pretrained(out)
    own = load("twin:sd15", device="cpu", dtype="fp32")  # tuned weights are copied into it
    again = tuned_for(head, out, own)
    assert again.fingerprint == head.source.fingerprint != model.fingerprint == own.fingerprint or tuned is UNET
    (bucket,) = stream(again, [labelled[0].photo], list(RECIPES))
    (bare,) = stream(model, [labelled[0].photo], list(RECIPES))
    for one, other, before in zip(bucket, live, bare):
        far = (other["up1"] - before["up1"]).abs().mean()
        assert (one["up1"] - other["up1"]).abs().mean() < 0.1 * far  # but for half precision
    assert head.predict(bucket).mask.shape == labelled[0].mask().shape
    with pytest.raises(BadInput, match="the head was fitted on, and the photo read with, two models"):
        head.predict(bare)


def test_plain_diffusers_reads_what_was_tuned(model, trained):
    tuned, out, *_ = trained
    torch.manual_seed(0)
    latent, embeds = torch.randn(1, 4, 16, 16), model.encode_prompt(["a horse"]).embeds
    unet = copy.deepcopy(model.unet)
    with torch.no_grad():
        before = unet(latent, 20, embeds).sample
        if tuned.mode == "lora":
            assert {name.split(".")[0] for name in load_file(out / "lora.safetensors")} == {"unet"}
            unet.load_lora_adapter(load_file(out / "lora.safetensors"), prefix="unet")
            with adapted({"unet": model.unet}, [(str(out / "lora.safetensors"), 1.0)]):
                ours = model.unet(latent, 20, embeds).sample
        else:
            state = load_file(out / "unet.safetensors")
            assert {value.dtype for value in state.values()} == {torch.float16}
            unet.load_state_dict(state)
            own = load("twin:sd15", device="cpu", dtype="fp32")
            ours = tuned_for(SceneHead.from_pretrained(out), out, own).model.unet(latent, 20, embeds).sample
        plain = unet(latent, 20, embeds).sample
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(plain, before, atol=1e-4)


def test_a_head_with_another_adapter_is_refused(model, trained, tmp_path):
    tuned, out, *_ = trained
    other = shutil.copytree(out, tmp_path / "other")
    name = "lora.safetensors" if tuned.mode == "lora" else "unet.safetensors"
    state = load_file(other / name)
    save_file({key: value + 1 for key, value in state.items()}, other / name)
    head = SceneHead.from_pretrained(other)
    with pytest.raises(BadInput, match=rf"{name}: other weights \(contents .{{8}}\) than the head was trained with"):
        tuned_for(head, other, model)
    (other / name).unlink()
    with pytest.raises(BadInput, match=f"{name}: missing; the head was trained with it"):
        tuned_for(head, other / "model.safetensors", model)
    strange = load("twin:sd21", device="cpu", dtype="fp32")
    with pytest.raises(BadInput, match="was tuned on other weights of twin:sd15 than those of twin:sd21"):
        tuned_for(head, out, strange)
    assert tuned_for(SceneHead(head.levels, CLASSES, "linear"), out, model) is model


def test_the_best_of_both_is_kept(model, labelled, tmp_path, monkeypatch):
    scores, seen = iter([0.9, 0.5]), []

    def score(self, head):
        seen.append({name: one.clone() for name, one in self.learned.tensors().items()})
        good = round(next(scores) * 100)
        return [Confusion(2).add(np.array([[0] * 100]), np.array([[0] * good + [1] * (100 - good)]))]

    monkeypatch.setattr(TunedScenes, "score", score)
    fitted, _ = fit(model, labelled, tmp_path / "net", TuneSettings("prompts", tokens=2, checkpointing=False))
    assert fitted.best == 2
    kept = load_file(tmp_path / "net/prompts.safetensors")["tokens"]
    assert torch.equal(kept, seen[0]["prompt.tokens"])
    assert not torch.equal(kept, seen[1]["prompt.tokens"])


def test_a_control_and_a_walk_are_read_through(model, labelled):
    settings = TuneSettings("prompts", tokens=2)
    with tuning(model, [WALK], settings) as learned:
        source = TunedScenes(learned, [WALK], labelled, len(CLASSES), 64)
        levels, _ = source.batch([source.view(0, np.random.default_rng(0), SETTINGS)])
        assert all(one.requires_grad for one in levels)
        sum(one.square().mean() for one in levels).backward()
        assert learned.prompt.tokens.grad.abs().max() > 0
    assert not next(stream(model, [labelled[0].photo], [WALK]))[0]["up1"].requires_grad


@pytest.mark.parametrize(
    ("name", "dtype", "recipe", "settings", "message"),
    [
        ("twin:sana", "fp32", Recipe(taps=("block1",)), LORA, "not through the sana family"),
        ("twin:cleandift-sd15", "fp32", Recipe(), LORA, "not through the cleandift family"),
        ("twin:sd15", "fp16", Recipe(), LORA, "small gradients are lost in fp16"),
        ("twin:sd15", "fp32", Recipe(lora="a.safetensors", label="a"), LORA, r"a: has an adapter of its own \(a.safe"),
    ],
)
def test_what_cannot_be_tuned_is_one_line(name, dtype, recipe, settings, message):
    with pytest.raises(BadInput, match=message), tuning(load(name, device="cpu", dtype=dtype), [recipe], settings):
        pass


def test_settings_that_make_no_sense_are_refused():
    for values in ({"mode": "all"}, {"prompts": "words"}, {"rank": 0}, {"denoiser_lr": 0}):
        with pytest.raises(BadInput):
            TuneSettings(**values)


def test_sdxl_is_tuned_too():
    model = load("twin:sdxl", device="cpu", dtype="fp32")
    (tap,) = [tap for tap in model.taps if tap.name == "up1"]
    with tuning(model, [Recipe()], TuneSettings("prompts", tokens=2)) as learned:
        assert isinstance(learned.model, TunedModel)
        latent = torch.randn(1, *model.encode_image(torch.zeros(1, 3, 64, 64)).shape[1:])
        with learned.model.learning():
            maps = learned.model.denoise(latent, 20, model.encode_prompt(["a horse"]), [tap]).maps
        maps["up1"].square().mean().backward()
        assert learned.prompt.tokens.grad.abs().max() > 0
    refused = pytest.raises(BadInput, match="prompts='classes' is for models with one text encoder")
    with refused, tuning(model, [Recipe()], TuneSettings("prompts", "classes"), CLASSES):
        pass
