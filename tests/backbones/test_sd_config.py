"""Configs that lie are refused in one line before anything is built; honest ones of every age are taken."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import shiftless
from shiftless.backbones.registry import models, taps
from shiftless.backbones.sd import StableDiffusion
from shiftless.backbones.sd_config import check_model
from shiftless.backbones.twin_controls import twin_control
from shiftless.backbones.twins import save_folder, twin_parts
from shiftless.conditions.control import load_control
from shiftless.conditions.unet_config import check_controlnet, read_controlnet
from shiftless.errors import BadInput

PLACES = {
    "unet": "unet/config.json",
    "vae": "vae/config.json",
    "text_encoder": "text_encoder/config.json",
    "scheduler": "scheduler/scheduler_config.json",
    "tokenizer": "tokenizer/tokenizer_config.json",
}


@pytest.fixture(scope="session")
def honest(tmp_path_factory) -> Path:
    """A twin of Stable Diffusion 1.5 as a folder; tests copy it."""
    folder = tmp_path_factory.mktemp("honest")
    save_folder(twin_parts(models()["sd15"]), folder)
    return folder


@pytest.fixture
def folder(honest, tmp_path) -> Path:
    return Path(shutil.copytree(honest, tmp_path / "model", copy_function=linked))


def linked(source: str, target: str) -> None:
    """Copy a file; of weights make a second name, since few tests change them: they do it by `change_weights`."""
    (os.link if source.endswith(".safetensors") else shutil.copy)(source, target)


def change_weights(file: Path, weights: dict[str, torch.Tensor]) -> None:
    file.unlink()
    save_file(weights, file, metadata={"format": "pt"})


def change(folder: Path, part: str, **fields: object) -> Path:
    path = folder / PLACES[part]
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return path


def refused(folder: Path) -> str:
    """Load a folder that must be refused quickly; return the line."""
    before = time.perf_counter()
    with pytest.raises(BadInput) as caught:
        StableDiffusion.read_parts(folder)
    assert time.perf_counter() - before < 5  # a million blocks used to be built for a minute
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("part", PLACES)
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[1, 2]", r"must hold one JSON object {...}, not [1, 2]"),
        ("null", "must hold one JSON object {...}, not null"),
        ('"a"', 'must hold one JSON object {...}, not "a"'),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
        ("{", "not valid JSON"),
        ("", "not valid JSON"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
    ],
)
def test_configs_that_are_no_objects(part, content, says, folder):
    path = folder / PLACES[part]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refused(folder).startswith(f"{path}: {says}")
    if part in ("unet", "vae"):
        with pytest.raises(BadInput, match=r"config\.json: "):
            taps(folder)


NAN, INF = float("nan"), float("inf")
LIES = [
    ("unet", "block_out_channels", [32, 64], "'down_block_types' has 4 entries and 'block_out_channels' has 2"),
    ("unet", "block_out_channels", "wide", 'is "wide"; it must be a list of up to 8, each a whole number from 1 to'),
    ("unet", "block_out_channels", [], "is []; it must be a list"),
    ("unet", "block_out_channels", [32, 64, 64, -1], "it must be a list"),
    ("unet", "block_out_channels", [32, 64, 64, 128], "asks for 128 where the weights' down_blocks.3.resnets.0.conv2"),
    ("unet", "down_block_types", ["DownBlock2D"] * 10**6, "it must be a list of up to 8"),
    ("unet", "down_block_types", [1, 2, 3, 4], "each a string"),
    ("unet", "layers_per_block", 10**6, "is 1000000; it must be a whole number from 1 to 32"),
    ("unet", "layers_per_block", 30, "asks for 30 where the weights' down_blocks.0.resnets has 2"),
    ("unet", "transformer_layers_per_block", 60, "asks for 60 where the weights' down_blocks.0.attentions.0"),
    ("unet", "transformer_layers_per_block", [[1]], "it must be a whole number"),
    ("unet", "cross_attention_dim", 64, "'cross_attention_dim' is 64, but the text encoder's width is 32"),
    (
        "unet",
        "in_channels",
        5,
        "'in_channels' is 5, but the autoencoder's latents have 4; give a Stable",
    ),
    ("unet", "in_channels", 9, "'in_channels' asks for 9 where the weights' conv_in.weight has 4"),
    ("unet", "sample_size", "large", 'is "large"; it must be a whole number from 1 to 8192'),
    ("unet", "sample_size", [16, None], "it must be a whole number"),
    ("unet", "sample_size", True, "is true; it must be a whole number"),
    ("unet", "attention_head_dim", 0, "it must be a whole number from 1"),
    ("unet", "norm_eps", NAN, "is NaN; it must be a number from 0 to 1"),
    ("unet", "num_class_embeds", 10**12, "it must be null"),
    ("unet", "conv_in_kernel", 13, "asks for 13 where the weights' conv_in.weight has 3"),
    ("vae", "scaling_factor", NAN, "is NaN; it must be a number"),
    ("vae", "scaling_factor", INF, "is Infinity; it must be a number"),
    ("vae", "scaling_factor", 0, "is 0; it must be a number"),
    ("vae", "scaling_factor", "0.18215", "it must be a number"),
    ("vae", "scaling_factor", [0.18], "it must be a number"),
    ("vae", "shift_factor", "a", "it must be a number from -1e+06 to 1e+06, or null"),
    ("vae", "layers_per_block", 31, "asks for 31 where the weights' encoder.down_blocks.0.resnets has 1"),
    ("vae", "latent_channels", 16, "the autoencoder's latents have 16"),
    ("vae", "block_out_channels", [16] * 4, "'block_out_channels' asks for 16 where the weights'"),
    ("vae", "in_channels", 1, "from 3 to 3"),
    ("text_encoder", "num_hidden_layers", 200, "asks for 200 where the weights' encoder.layers has 2"),
    ("text_encoder", "num_hidden_layers", 10**6, "is 1000000; it must be a whole number from 0 to 256"),
    ("text_encoder", "hidden_size", None, "is null; it must be a whole number"),
    ("text_encoder", "intermediate_size", 131072, "asks for 131072 where"),
    ("text_encoder", "vocab_size", 9_000_000, "asks for 9000000 where the weights' embeddings.token_embedding"),
    ("text_encoder", "max_position_embeddings", 60000, "asks for 60000 where"),
    ("text_encoder", "hidden_act", {"a": 1}, "it must be one of quick_gelu"),
    ("scheduler", "num_train_timesteps", 10**9, "it must be a whole number from 1 to 100000"),
    ("scheduler", "beta_end", NAN, "it must be a number from 0 to 1"),
    ("scheduler", "trained_betas", ["a"], "it must be a list"),
    ("scheduler", "prediction_type", "flow", "it must be one of epsilon, v_prediction, sample"),
    ("scheduler", "beta_schedule", 7, "it must be one of linear, scaled_linear"),
    ("tokenizer", "model_max_length", 2, "is 2; it must be a whole number"),
    ("tokenizer", "model_max_length", "long", "it must be a whole number"),
    ("tokenizer", "model_max_length", -1, "it must be a whole number"),
]


@pytest.mark.parametrize(("part", "field", "value", "says"), LIES, ids=lambda value: str(value)[:20])
def test_fields_that_lie_are_named(part, field, value, says, folder):
    path = change(folder, part, **{field: value})
    line = refused(folder)
    assert says in line
    assert str(path.relative_to(folder)) in line or "unet/config.json" in line


def test_a_size_that_is_not_said_can_be_given(folder):
    change(folder, "unet", sample_size=None)
    with pytest.raises(BadInput, match=r"says no sample_size; write one there, such as 64 for 512 pixels"):
        shiftless.load(folder, device="cpu")
    assert shiftless.load(folder, device="cpu", size=128).spec.size == 128
    change(folder, "unet", sample_size=[16, 24])
    assert shiftless.load(folder, device="cpu").spec.size == 192  # the longer side


def test_a_text_encoder_may_have_no_layers(folder):
    change(folder, "text_encoder", num_hidden_layers=0)
    assert "asks for 0 where the weights' encoder.layers has 2" in refused(folder)
    file = folder / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    change_weights(file, {name: one for name, one in weights.items() if ".layers." not in name})
    model = shiftless.load(folder, device="cpu")
    one, other = (model.encode_prompt([text]).embeds[0] for text in ("a horse", "a house"))
    moved = (one != other).any(-1)
    assert moved.any()
    assert not moved.all()  # each token is its own word alone


def test_weights_that_config_asks_for_must_be_there(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["mid_block.resnets.0.conv1.weight"], weights["conv_norm_out.bias"]
    change_weights(file, weights)
    assert "unet: the weights lack conv_norm_out.bias and 1 more, which config.json asks for" in refused(folder)
    file.write_bytes(file.read_bytes()[:2000])
    assert "diffusion_pytorch_model.safetensors: not a whole safetensors file" in refused(folder)


def test_tokenizers_are_held_against_the_text_encoder(folder):
    change(folder, "tokenizer", model_max_length=10**30)  # what transformers writes for no limit
    assert StableDiffusion.read_parts(folder)["tokenizer"].model_max_length == 77
    change(folder, "tokenizer", model_max_length=20)
    model = shiftless.load(folder, device="cpu")
    assert model.encode_prompt(["a" * 30]).embeds.shape[1] == 40  # two windows of what it says

    file = folder / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("token_embedding.weight"))
    weights[name] = weights[name][:300].contiguous()
    change_weights(file, weights)
    change(folder, "text_encoder", vocab_size=300)
    assert "tokenizer: token 513 has no embedding, the text encoder has 300" in refused(folder)


@pytest.mark.parametrize(
    "old",
    [
        {"unet": ["_class_name", "norm_eps", "upcast_attention", "mid_block_type", "attention_head_dim"]},
        {"vae": ["scaling_factor", "shift_factor", "force_upcast", "use_quant_conv", "sample_size"]},
        {"scheduler": ["prediction_type", "trained_betas", "rescale_betas_zero_snr", "num_train_timesteps"]},
        {"tokenizer": ["model_max_length"]},
        {"text_encoder": ["projection_dim", "initializer_factor", "torch_dtype", "dtype"]},
    ],
    ids=lambda old: next(iter(old)),
)
def test_configs_of_older_versions_lack_fields(old, folder):
    for part, names in old.items():
        path = folder / PLACES[part]
        config = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in config.items() if name not in names}))
    model = shiftless.load(folder, device="cpu")
    assert model.vae.config.scaling_factor == 0.18215
    assert torch.isfinite(model.encode_prompt(["a cat"]).embeds).all()
    assert taps(folder) == model.taps


def test_lists_and_numbers_for_all_levels_are_one_thing(folder):
    before = taps(folder)
    fields = {"layers_per_block": [2] * 4, "attention_head_dim": [8] * 4, "transformer_layers_per_block": [1] * 4}
    change(folder, "unet", **fields, only_cross_attention=[False] * 4, unknown_field={"of": "a later version"})
    assert taps(folder) == before
    assert shiftless.load(folder, device="cpu").taps == before


@pytest.mark.parametrize("name", ["sd15", "sd21"])
def test_published_models_pass(name, tmp_path, monkeypatch):
    """Full-size networks on the meta device: diffusers' own configs agree with the shapes of their own weights."""
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    row = models()[name]
    levels = len(row["vae"]["block_out_channels"])
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels}
    with torch.device("meta"):
        unet = UNet2DConditionModel(**row["unet"])
        nets = {
            "unet": unet,
            "vae": AutoencoderKL(**row["vae"], **blocks),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**row["text"])),
            "controlnet": ControlNetModel.from_unet(unet, load_weights_from_unet=False),
        }
    parts = twin_parts(row)
    for part in ("scheduler", "tokenizer"):
        parts[part].save_pretrained(tmp_path / part)
    for part, net in nets.items():
        (tmp_path / part).mkdir()
        config = net.config.to_dict() if part == "text_encoder" else dict(net.config)
        (tmp_path / part / "config.json").write_text(json.dumps(config))
    shapes = {part: {key: tuple(value.shape) for key, value in net.state_dict().items()} for part, net in nets.items()}
    monkeypatch.setattr("shiftless.conditions.config.weight_shapes", lambda folder: shapes[folder.name])
    check_model(tmp_path)
    check_controlnet(read_controlnet(tmp_path / "controlnet"), tmp_path / "controlnet")
    assert taps(tmp_path) == taps(name)


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    """The folder of a ControlNet, and the UNet that it is for."""
    folder, unet = tmp_path_factory.mktemp("control"), twin_parts(models()["sd15"])["unet"]
    twin_control(unet, 8).save_pretrained(folder)
    return folder, unet


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("conditioning_embedding_out_channels", [16] * 8, "'conditioning_embedding_out_channels' asks for 14 where"),
        ("conditioning_embedding_out_channels", None, "it must be a list"),
        ("conditioning_embedding_out_channels", [4, 8, 16, 16000], "asks for 16000 where"),
        ("block_out_channels", {"a": 1}, "it must be a list"),
        ("layers_per_block", 32, "asks for 32 where the weights' down_blocks.0.resnets has 2"),
        ("addition_embed_type", "text_time", "needs add_embedding.linear_1.weight, which the weights lack"),
        ("addition_embed_type", "image", "it must be one of text_time, or null"),
    ],
)
def test_controlnets_that_lie(field, value, says, control, tmp_path):
    honest, unet = control
    place = {"stride": 8, "device": torch.device("cpu"), "dtype": torch.float32, "encode": None}
    assert load_control(f"canny={honest}", {}, unet, **place).net.config.in_channels == 4
    shutil.copytree(honest, tmp_path, copy_function=linked, dirs_exist_ok=True)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(BadInput, match=r"config\.json: ") as caught:
        load_control(f"canny={tmp_path}", {}, unet, **place)
    assert says in str(caught.value)


def test_captioners_that_lie(tmp_path):
    from shiftless.conditions.caption import find_captioner, load_captioner

    folder = Path(shutil.copytree(find_captioner("mini"), tmp_path / "captioner"))
    path = folder / "config.json"
    config = json.loads(path.read_text())
    deep, deeper = ({**config, "decoder": {**config["decoder"], "num_hidden_layers": n}} for n in (9, 10**6))
    for lie, says in (
        ([1], "must hold one JSON object"),
        (deeper, "'num_hidden_layers' is 1000000, but"),
        (deep, "the weights lack "),
        ({**config, "initializer_range": NAN}, "holds nan, which is no finite number"),
    ):
        path.write_text(json.dumps(lie))
        with pytest.raises(BadInput, match=str(folder)) as caught:
            load_captioner(folder)
        assert says in str(caught.value)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_are_not_finite_are_refused(part, folder):
    (file,) = (folder / part).glob("*.safetensors")
    weights = load_file(file)
    name = next(name for name, value in weights.items() if value.ndim == 4 or "token_embedding" in name)
    weights[name].view(-1)[7] = NAN
    change_weights(file, weights)
    assert "holds values that are not finite in float32; fetch or save the model again" in refused(folder)


def test_fields_that_transformers_would_obey_are_left_out(folder):
    before = shiftless.load(folder, device="cpu", dtype="fp32").encode_prompt(["a cat"]).embeds
    change(folder, "text_encoder", return_dict=False, output_hidden_states=True, id2label=7, tie_word_embeddings="a")
    assert torch.equal(shiftless.load(folder, device="cpu", dtype="fp32").encode_prompt(["a cat"]).embeds, before)
    change(folder, "text_encoder", eos_token_id=None)
    assert "'eos_token_id' is null; it must be a whole number" in refused(folder)
