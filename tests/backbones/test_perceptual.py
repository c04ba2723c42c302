"""A perceptual model gives a vision transformer's own patch tokens on their grid; what is none is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from shiftless.backbones.perceptual import PerceptualModel, load_perceptual_model
from shiftless.backbones.vision_folder import MEAN, STD
from shiftless.errors import BadInput
from shiftless.metrics.content_shift import perceptual

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SEES = {**SMALL, "image_size": 32, "patch_size": 8}
PICTURE = np.random.default_rng(0).random((32, 32, 3))


def tiny(kind: str):
    """A tiny model of random weights, and how many tokens stand before its patches."""
    import transformers as t

    torch.manual_seed(0)
    if kind == "vit":
        return t.ViTModel(t.ViTConfig(**SEES)), 1
    if kind == "vit-classifier":
        return t.ViTForImageClassification(t.ViTConfig(**SEES)), 1
    if kind == "dinov2":
        return t.Dinov2Model(t.Dinov2Config(**SEES)), 1
    if kind == "dinov2-registers":
        return t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**SEES, num_register_tokens=3)), 4
    if kind == "dinov3":
        return t.DINOv3ViTModel(t.DINOv3ViTConfig(**SEES, num_register_tokens=2)), 3
    if kind == "siglip-vision":
        return t.SiglipVisionModel(t.SiglipVisionConfig(**SEES)), 0
    if kind == "clip-vision":
        return t.CLIPVisionModel(t.CLIPVisionConfig(**SEES)), 1
    assert kind == "clip"
    text = {**SMALL, "vocab_size": 20}
    return t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=SEES, projection_dim=8)), 1


NORMS = {"clip": (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD), "siglip": (IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD)}
KINDS = ["vit", "vit-classifier", "dinov2", "dinov2-registers", "dinov3", "siglip-vision", "clip-vision", "clip"]


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    tiny("vit")[0].save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_perceptual_model_gives_the_models_own_patch_tokens(kind, tmp_path):
    model, before = tiny(kind)
    model.save_pretrained(tmp_path)
    judge = load_perceptual_model(tmp_path, device="cpu")
    seeing = {"vit-classifier": "vit", "clip": "vision_model"}.get(kind)
    seeing = getattr(model, seeing) if seeing else model
    fed = torch.from_numpy(PICTURE).float().permute(2, 0, 1)[None]
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in NORMS.get(kind.partition("-")[0], (MEAN, STD)))
    fed = (fed - mean) / std
    with torch.no_grad():
        tokens = seeing.eval()(pixel_values=fed).last_hidden_state
    assert (judge.name, judge.before, judge.size) == (str(tmp_path), before, 32)
    expected = tokens[:, before:].reshape(1, 4, 4, 16).permute(0, 3, 1, 2)
    torch.testing.assert_close(judge.look(PICTURE), expected)
    assert torch.equal(judge.look(PICTURE), judge.look(PICTURE))


@pytest.mark.parametrize("kind", ["vit", "dinov3", "clip-vision"])
def test_pictures_of_any_size_keep_their_aspect(kind, tmp_path):
    tiny(kind)[0].save_pretrained(tmp_path)
    assert load_perceptual_model(tmp_path, device="cpu").look(np.zeros((30, 120, 3))).shape == (1, 16, 2, 8)


def test_rows_of_the_map_are_rows_of_the_picture():
    """A perceptual model that sees each patch's own mean only: where the picture is bright, the map is."""

    def means(pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(pixels, 8).flatten(2).transpose(1, 2)

    judge = PerceptualModel("means", means, 8, 32, 0, (0.0,) * 3, (1.0,) * 3, torch.device("cpu"))
    picture = np.zeros((16, 64, 3))
    picture[:8, 40:48, 1] = 1
    recorded = judge.look(picture)
    assert recorded.shape == (1, 3, 2, 8)
    assert recorded[0].flatten().argmax() == recorded[0, 1].numel() + 5
    assert recorded[0, 1, 0, 5] == pytest.approx(1, abs=0.02)


def test_the_folder_says_how_pictures_are_prepared(tmp_path):
    tiny("vit")[0].save_pretrained(tmp_path)
    plain = load_perceptual_model(tmp_path, device="cpu")
    settings = {"size": {"shortest_edge": 64}, "crop_size": 48, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    judge = load_perceptual_model(tmp_path, device="cpu")
    assert (judge.size, judge.mean, judge.std) == (48, (0.5,) * 3, (0.25,) * 3)
    assert judge.look(PICTURE).shape == (1, 16, 6, 6)
    assert (plain.size, plain.mean) == (32, MEAN)
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": {**settings, "crop_size": None}}))
    assert load_perceptual_model(tmp_path, device="cpu").size == 64


def test_a_picture_looks_like_itself_and_less_like_another(vit):
    judge = load_perceptual_model(vit, device="cpu")
    changed = np.array(Image.fromarray((PICTURE * 255).astype(np.uint8)).rotate(90)) / 255
    assert perceptual(judge.look(PICTURE), judge.look(PICTURE.copy())).value == 0
    assert perceptual(judge.look(PICTURE), judge.look(changed)).value > 1e-6


def test_a_picture_of_another_shape_is_refused(vit):
    with pytest.raises(BadInput, match=r"shape \(32, 32\); a perceptual model looks at H W 3"):
        load_perceptual_model(vit, device="cpu").look(PICTURE[..., 0])


def refusal(name) -> str:
    with pytest.raises(BadInput) as caught:
        load_perceptual_model(name, device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_not_here_is_told_with_the_command_that_fetches_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "fetch it once with: shiftless fetch someone/never-fetched" in refusal("someone/never-fetched")
    assert "no such perceptual model" in refusal(str(tmp_path / "missing"))
    assert "no such perceptual model" in refusal("")
    assert "no config.json" in refusal(tmp_path)


def test_models_that_see_no_patches_are_refused(tmp_path):
    import transformers as t

    t.BertModel(t.BertConfig(**SMALL, vocab_size=20)).save_pretrained(tmp_path / "text")
    assert "text: not a vision transformer that can be loaded (a bert without patches)" in refusal(tmp_path / "text")
    t.ViTMAEModel(t.ViTMAEConfig(**SEES)).save_pretrained(tmp_path / "masked")
    assert "does not hold a token for each patch" in refusal(tmp_path / "masked")
    t.ConvNextModel(t.ConvNextConfig(depths=[1] * 4, hidden_sizes=[4] * 4)).save_pretrained(tmp_path / "convolutions")
    assert "not a vision transformer that can be loaded" in refusal(tmp_path / "convolutions")


def test_weights_must_be_safetensors_and_whole(vit, tmp_path):
    from safetensors.torch import load_file, save_file

    config = (vit / "config.json").read_text()
    (tmp_path / "config.json").write_text(config)
    torch.save(load_file(vit / "model.safetensors"), tmp_path / "pytorch_model.bin")
    assert "pytorch_model.bin, a pickle, which is never opened here; convert it once" in refusal(tmp_path)
    weights = load_file(vit / "model.safetensors")
    lost = next(key for key in weights if "pooler" not in key)
    save_file({key: value for key, value in weights.items() if key != lost}, tmp_path / "model.safetensors")
    assert "its weights lack" in refusal(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    assert "model.safetensors: not a whole safetensors file" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert "config.json: not valid JSON" in refusal(tmp_path)
