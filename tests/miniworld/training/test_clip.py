"""The training of the CLIP, on networks that take a second."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPModel, CLIPTokenizer

import shiftless
from miniworld.training.clip import ClipLoss, new_clip, train_clip
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.stage import Stage
from shiftless.errors import BadInput

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


@pytest.fixture
def train(drawn):
    def run(out, *, images=12, seed=0, checkpoint_minutes=5, **options):
        how = {"images": images, "seed": seed, "checkpoint_minutes": checkpoint_minutes, "device": "cpu"}
        stage = Stage(out, pictures=drawn, draw=False, compile=False, **how)
        return train_clip(stage, **{"batch": 4, "changes": TINY, **options})

    return run


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_a_new_network_is_small(tokenizer):
    model = new_clip(tokenizer)
    assert 2 * sum(p.numel() for p in model.parameters()) <= 4.5e6
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), new_clip(tokenizer).parameters()))


def test_the_loss_is_the_librarys_and_falls_on_a_batch_shown_again(tokenizer):
    model = new_clip(tokenizer, image_size=32, **TINY)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(4, 3, 32, 32, generator=generator)
    tokens = tokenizer(
        ["a photo of a cow", "a photo of a bus", "a red car", "a boat at night"], padding="max_length", max_length=16,
        return_tensors="pt",
    ).input_ids  # fmt: skip
    network = ClipLoss(model)
    theirs = model(pixel_values=pixels, input_ids=tokens, return_loss=True).loss
    torch.testing.assert_close(network(pixels, tokens)[0], theirs)
    same = torch.cat([tokens[:2], tokens[:2]])
    assert float(network(pixels[:1].repeat(4, 1, 1, 1), same)[1]) == 0.5  # either of two captions that are the same
    optimiser = Fp32MasterAdamW(network.parameters(), dtype=torch.float32)
    for _ in range(40):
        loss, right = network(pixels, tokens)
        loss.backward()
        optimiser.step(2e-3)
    assert float(loss.detach()) < 0.3 * float(theirs.detach())
    assert float(right) == 1


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path, train, monkeypatch):
    folder = train(tmp_path / "a")
    whole = weights(folder)
    assert {tensor.dtype for name, tensor in whole.items() if "position_ids" not in name} == {torch.float16}
    assert len(CLIPTokenizer.from_pretrained(folder)("a cow").input_ids) == 4
    assert CLIPModel.from_pretrained(folder).config.vision_config.image_size == 32
    step = Fp32MasterAdamW.step

    def killed(self, lr):
        if self.steps >= 2:
            raise KeyboardInterrupt
        torch.rand(3)  # what others draw changes nothing
        return step(self, lr)

    with monkeypatch.context() as patch:
        patch.setattr(Fp32MasterAdamW, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "b", checkpoint_minutes=0)
    assert not (tmp_path / "b" / "clip").exists()
    resumed = weights(train(tmp_path / "b"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    further = weights(train(tmp_path / "on", start_from=tmp_path / "a", images=4, lr=1e-4))
    gap = max(float((further[name].float() - tensor.float()).abs().max()) for name, tensor in whole.items())
    assert 0 < gap < 0.01  # a step away, not drawn anew


def test_bad_input_is_one_line_that_says_what_to_do(tmp_path, train):
    with pytest.raises(BadInput, match="no CLIP here; give the folder"):
        train(tmp_path / "out", start_from=shiftless.mini.weights() / "captioner")
