"""Any CLIP's folder, read cell by cell: the same as written out by hand, on a small one with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPConfig, CLIPModel

from miniworld.training.clip import save_clip
from miniworld.training.tokenizer import new_tokenizer
from shiftless import mini
from shiftless.backbones.clip_folder import open_clip
from shiftless.errors import BadInput
from shiftless.image import open_photo

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tokenizer = new_tokenizer(["a", "photo", "of", "the", "horse", "sky"])
    torch.manual_seed(0)
    text = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "max_position_embeddings": 16}
    config = CLIPConfig(
        vision_config={**SMALL, "image_size": 16, "patch_size": 4}, text_config={**SMALL, **text}, projection_dim=8
    )
    place = tmp_path_factory.mktemp("clip") / "clip"
    place.mkdir()
    save_clip(place, CLIPModel(config), tokenizer)
    return place


def test_cells_are_the_last_layers_values_on_their_way_out(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    clip, model = open_clip(folder, "cpu"), CLIPModel.from_pretrained(folder, torch_dtype=torch.float32).eval()
    with torch.no_grad():
        shown = clip.prepared.normalise(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)
        vision = model.vision_model
        states = vision(pixel_values=shown, interpolate_pos_encoding=True, output_hidden_states=True).hidden_states
        layer = vision.encoder.layers[-1]
        normed = layer.layer_norm1(states[-2])
        values = F.linear(normed, layer.self_attn.v_proj.weight, layer.self_attn.v_proj.bias)
        out = F.linear(values, layer.self_attn.out_proj.weight, layer.self_attn.out_proj.bias)
        expected = F.linear(vision.post_layernorm(out), model.visual_projection.weight)[0, 1:]
        keys = layer.self_attn.k_proj(normed)[0, 1:]
    cells = clip.cells(open_photo(pixels, "a"))
    assert cells.dense.shape == (1, 8, 4, 6)
    torch.testing.assert_close(cells.dense[0].flatten(1).T, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cells.keys[0].flatten(1).T, keys, atol=1e-5, rtol=1e-5)
    assert not any(module._forward_hooks for module in clip.model.modules())


def test_a_photo_is_what_the_library_says_of_it(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    clip, model = open_clip(folder, "cpu"), CLIPModel.from_pretrained(folder, torch_dtype=torch.float32).eval()
    with torch.no_grad():
        shown = clip.prepared.normalise(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)
        expected = model.visual_projection(model.vision_model(pixel_values=shown).pooler_output)
    torch.testing.assert_close(clip.image(open_photo(pixels, "a")), expected, atol=1e-5, rtol=1e-5)
    assert clip.width == expected.shape[1]
    assert clip.image(open_photo(np.zeros((20, 30, 3), np.uint8), "b")).shape == expected.shape


def test_words_are_what_the_library_says_of_each_sentence(folder):
    clip, model = open_clip(folder, "cpu"), CLIPModel.from_pretrained(folder, torch_dtype=torch.float32).eval()
    found = clip.words(["horse", "sky"], ["a photo of a {}", "the {}"])
    with torch.no_grad():
        for name, row in zip(("horse", "sky"), found):
            each = []
            for sentence in (f"a photo of a {name}", f"the {name}"):
                tokens = clip.tokenizer([sentence], return_tensors="pt")
                each.append(F.normalize(model.get_text_features(**tokens).pooler_output, dim=-1)[0])
            torch.testing.assert_close(row, F.normalize(torch.stack(each).mean(0), dim=-1))
    with pytest.raises(BadInput, match="empty name"):
        clip.words(["horse", " "])


def test_what_is_no_clip_is_named(folder, tmp_path):
    with pytest.raises(BadInput, match="no CLIP of images and text"):
        open_clip(mini.weights() / "captioner", "cpu")
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    with pytest.raises(BadInput, match=r"no tokenizer beside the weights; copy vocab\.json"):
        open_clip(tmp_path, "cpu")
