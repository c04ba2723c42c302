"""DiT: features and predictions are those of plain diffusers; its prompt is a class."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import DiTPipeline, DiTTransformer2DModel

import shiftless
from shiftless.backbones.random_parts import save_parts
from shiftless.backbones.registry import models, taps
from shiftless.taps.hooks import tapped
from shiftless.taps.layout import Layout
from shiftless.taps.names import select

TAPS = ["block1", "block1.self.map", "block2.self.v", "block1.ffn.inner"]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
LABELS = {"134": "crane", "281": "tabby, tabby cat", "517": "crane"}


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:dit-xl-256", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model in the published layout: the class's old name, and the names of classes in model_index.json."""
    folder = tmp_path_factory.mktemp("dit")
    save_parts(type(shiftless.load("twin:dit-xl-256")).twin_parts(models()["dit-xl-256"]), folder)
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "_class_name": "Transformer2DModel"}))
    index = {"_class_name": "DiTPipeline", "id2label": LABELS}
    index |= {"scheduler": ["diffusers", "DDIMScheduler"], "vae": ["diffusers", "AutoencoderKL"]}
    index |= {"transformer": ["diffusers", "DiTTransformer2DModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("hw", [(64, 64), (32, 96), (32, 128)])
@torch.no_grad()
def test_features_and_predictions_are_those_of_plain_diffusers(model, hw):
    latent = torch.randn(1, 4, hw[0] // 8, hw[1] // 8, generator=torch.Generator().manual_seed(0))
    ours = model.denoise(latent, 50, model.encode_prompt(["281"]), select(TAPS, model.taps), full=True)
    net, kept = model.denoiser, {}
    block = net.transformer_blocks[1]
    handles = [
        module.register_forward_hook(lambda _m, _a, out, name=name: kept.update({name: out}))
        for name, module in {
            "block1": block, "block2.self.v": net.transformer_blocks[2].attn1.to_v,
            "block1.ffn.inner": block.ff.net[0], "normed": block.norm1, "out": net.proj_out_2,
        }.items()
    ]  # fmt: skip
    call = {"timestep": torch.tensor([50]), "class_labels": torch.tensor([281])}
    try:
        prediction = net(latent, **call).sample
    except RuntimeError:  # diffusers' own class puts only square images together, and others wrongly or not at all
        assert hw[0] != hw[1]
        prediction = None
    for handle in handles:
        handle.remove()
    rows, columns = hw[0] // 16, hw[1] // 16
    projected = (layer(kept["normed"][0]) for layer in (block.attn1.to_q, block.attn1.to_k))
    q, k = (x.unflatten(2, (4, -1)).transpose(1, 2) for x in projected)
    kept["block1.self.map"] = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1).mean(1)
    for name in TAPS:
        expected = kept[name].transpose(1, 2).unflatten(2, (rows, columns))
        torch.testing.assert_close(ours.maps[name], expected, **CLOSE)
    if rows == columns:
        torch.testing.assert_close(ours.prediction, prediction[:, :4], **CLOSE)
    for row, column in ((0, 1), (rows - 1, columns - 1)):  # each token is the patch at its place
        patch = kept["out"][0, row * columns + column].view(2, 2, 8).permute(2, 0, 1)[:4]
        there = ours.prediction[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        torch.testing.assert_close(there, patch, **CLOSE)


def test_classes_are_found_as_diffusers_pipeline_finds_them(folder):
    model = shiftless.load(folder, device="cpu", dtype="fp32")
    pipeline = DiTPipeline.from_pretrained(folder, local_files_only=True)
    for name in ("tabby", "tabby cat"):
        assert model.encode_prompt([name]).extra["label"].tolist() == pipeline.get_label_ids([name]) == [281]
    assert model.encode_prompt(["Tabby Cat", "7", ""]).extra["label"].tolist() == [281, 7, 1000]
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        call = {"timestep": torch.tensor([50]), "class_labels": torch.tensor([281])}
        expected = pipeline.transformer(latent, **call).sample[:, :4]
    ours = model.denoise(latent, 50, model.encode_prompt(["tabby"])).prediction
    torch.testing.assert_close(ours, expected, **CLOSE)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("a photo of a cat", "is a class"), ("crane", "names the classes"), ("1001", "is a class"), ("-1", "is a class")],
)
def test_what_is_no_class_is_one_line(folder, prompt, message):
    model = shiftless.load(folder, device="cpu", dtype="fp32")
    with pytest.raises(shiftless.BadInput, match=message) as raised:
        shiftless.extract(model, torch.zeros(3, 64, 64), shiftless.Recipe(taps=("block1",), prompt=prompt))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("labels", [["tabby"], {"tabby": 3}, {"3": 4}, {"1e3": "tabby"}])
def test_a_broken_list_of_classes_is_one_line(folder, tmp_path, labels):
    for part in folder.iterdir():
        (tmp_path / part.name).symlink_to(part)
    (tmp_path / "model_index.json").unlink()
    (tmp_path / "model_index.json").write_text(json.dumps({"id2label": labels}))
    with pytest.raises(shiftless.BadInput, match="id2label"):
        shiftless.load(tmp_path, device="cpu").encode_prompt(["tabby"])


def test_the_classes_steer_the_prediction(model):
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    cat, none = (model.denoise(latent, 50, model.encode_prompt([label])).prediction for label in ("281", ""))
    assert not torch.allclose(cat, none)


@pytest.mark.parametrize(("name", "side"), [("dit-xl-256", 256), ("dit-xl-512", 512)])
def test_listed_taps_are_those_of_the_published_network(name, side):
    """A whole forward pass of the full-size network on the meta device: shapes without weights or time."""
    listed = [tap for tap in taps(name) if tap.kind == "out"]
    with torch.device("meta"):
        net = DiTTransformer2DModel(**models()[name]["transformer"])
        call = {"timestep": torch.tensor([50], device="meta"), "class_labels": torch.tensor([281], device="meta")}
        with tapped(net, listed, layout=Layout((side, side)), stop=False) as captured:
            net(torch.empty(1, 4, side // 8, side // 8), **call)
    assert {tap.stride for tap in listed} == {16}
    assert [value.shape[1:] for value in captured.maps().values()] == [
        (tap.channels, side // 16, side // 16) for tap in listed
    ]
