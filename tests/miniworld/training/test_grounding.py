"""The stage that teaches words their places, on networks that take a second."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from miniworld.training import grounding
from miniworld.training.architecture import new_text_encoder, new_unet, new_vae
from miniworld.training.attention import use_fast_attention
from miniworld.training.encoded_pictures import tokenize
from miniworld.training.epochs import Epochs
from miniworld.training.grounding import GRID, INSIDE, WORDS, GroundedLoss, grounded_pictures, map_loss, place_of
from miniworld.training.stage import Stage
from miniworld.training.unet import NoiseLoss, save_pipeline
from shiftless.errors import BadInput
from tests.interrupted import interrupt_after

TINY_VAE = {"block_out_channels": (8, 8, 16), "norm_num_groups": 4, "sample_size": 32}
TINY_UNET = {"block_out_channels": (8, 16, 16), "norm_num_groups": 4, "attention_head_dim": 2, "sample_size": 8}


@pytest.fixture(scope="module")
def model(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("model")
    save_pipeline(folder, new_vae(**TINY_VAE), new_unet(**TINY_UNET), new_text_encoder(tokenizer), tokenizer)
    return folder


@pytest.fixture(scope="module")
def data():
    return grounded_pictures(new_vae(**TINY_VAE), 20, 32, torch.device("cpu"))


def taught(network, batch):
    return float(torch.stack([map_loss(one.detach(), *batch[4:]) for one in network.maps]).mean())


def test_the_loss_by_hand():
    weights = torch.tensor([[[0.1, 0.6], [0.2, 0.2], [0.3, 0.0], [0.4, 0.2]]])  # B 4 2
    masks = torch.zeros(1, 2, 4, 4)
    masks[0, 0, :2] = 1  # the upper half, which is the first two cells
    expected = -math.log(0.8 / 1.0) - INSIDE * math.log(0.8 / 2)
    assert float(map_loss(weights, torch.tensor([[1, 0]]), masks)) == pytest.approx(expected, rel=1e-5)
    assert float(map_loss(weights, torch.tensor([[0, 0]]), torch.zeros(1, 2, 4, 4))) == 0  # nothing to be taught
    finer = masks.clone()
    finer[0, 0, 0] = 0  # half of each of the two cells
    half = -math.log(0.5 * 0.8) - INSIDE * math.log(0.8 / 2)
    assert float(map_loss(weights, torch.tensor([[1, 0]]), finer)) == pytest.approx(half, rel=1e-5)


def test_a_batch_teaches_words_that_its_captions_hold(data, tokenizer):
    epochs = Epochs(20, stream=6)
    batch = data.batch(tokenizer, 20, 0, 0, epochs)
    again = data.batch(tokenizer, 20, 0, 0, epochs)
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    assert batch["masks"].shape == (20, WORDS, GRID, GRID)
    taught = batch["masks"].flatten(2).amax(2) > 0
    assert taught.sum() > 30
    for row, i in enumerate(epochs.rows(20, 0, 0)):
        for column in taught[row].nonzero().flatten().tolist():
            token = batch["tokens"][row, batch["places"][row, column]]
            word = tokenizer.decode([int(token)]).strip()
            assert np.array_equal(batch["masks"][row, column].numpy(), data.masks[i][word])


def test_a_word_that_stands_twice_has_no_place(tokenizer):
    tokens = torch.from_numpy(tokenize(tokenizer, ["a lamp, a tail and a lamp"]))[0].long()
    assert place_of(tokenizer, tokens, "lamp") is None
    assert place_of(tokenizer, tokens, "horse") is None
    assert tokenizer.decode([int(tokens[place_of(tokenizer, tokens, "tail")])]).strip() == "tail"


def test_maps_are_taught_and_nothing_else_of_the_loss_changes(data, tokenizer, monkeypatch):
    torch.manual_seed(0)
    unet, text = new_unet(**TINY_UNET), new_text_encoder(tokenizer)
    network = GroundedLoss(unet, text).train()
    use_fast_attention(unet, text)
    batch = tuple(data.batch(tokenizer, 8, 0, 0, Epochs(20, stream=6)).values())
    plain, errors = NoiseLoss(unet, text)(*batch[:4])
    network.keep_maps()
    loss, same = network(*batch)
    assert len(network.maps) == sum(".attn2." in name for name in unet.attn_processors)
    torch.testing.assert_close(same, errors)
    extra = taught(network, batch)
    assert float((loss - plain).detach()) == pytest.approx(grounding.WEIGHT * extra, rel=1e-3)
    monkeypatch.setattr(grounding, "WEIGHT", 1.0)
    optimiser = torch.optim.Adam(network.parameters(), lr=6e-3)
    for _ in range(12):
        loss, _ = network(*batch)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    network(*batch)
    assert taught(network, batch) < extra - 0.2


def test_it_goes_on_to_the_same_bytes_where_it_was_stopped(model, tmp_path, monkeypatch):
    monkeypatch.setattr(grounding, "EVERY", 1000)

    def train(out, minutes=5.0):
        how = {"images": 24, "checkpoint_minutes": minutes, "device": "cpu", "n_pictures": 10, "compile": False}
        return grounding.train_grounding(Stage(out, **how), start_from=model, batch=4)

    whole = train(tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts", 0)
    parts = train(tmp_path / "parts")
    for name in ("unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        one, other, before = (load_file(folder / name) for folder in (whole, parts, model))
        assert all(torch.equal(one[key], other[key]) for key in one)
        assert any(not torch.equal(one[key], before[key]) for key in one)


def test_a_folder_without_a_pipeline_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"no model_index.json here"):
        grounding.train_grounding(Stage(tmp_path, images=4, device="cpu"), start_from=tmp_path / "none")
