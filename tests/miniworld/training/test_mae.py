"""The training of the masked autoencoder, on networks that take a second."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from transformers import ViTMAEForPreTraining, ViTMAEModel

import shiftless
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.mae import MaskedLoss, new_mae, save_mae, train_mae
from miniworld.training.stage import Stage
from shiftless.errors import BadInput

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 1,
    "decoder_intermediate_size": 32,
}


@pytest.fixture
def train(drawn):
    def run(out, *, images=16, seed=0, checkpoint_minutes=5, **options):
        how = {"images": images, "seed": seed, "checkpoint_minutes": checkpoint_minutes, "device": "cpu"}
        stage = Stage(out, pictures=drawn, draw=False, compile=False, **how)
        return train_mae(stage, **{"batch": 4, "changes": TINY, **options})

    return run


def weights(folder):
    return load_file(folder / "model.safetensors")


def shown(size=4):
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.randn(size, 3, 8, 8, generator=generator), 32, mode="bilinear")
    return smooth, torch.rand(size, 16, generator=generator)


def test_the_loss_falls_on_a_batch_that_is_shown_again_and_again():
    network = MaskedLoss(new_mae(image_size=32, **TINY))
    optimiser = Fp32MasterAdamW(network.parameters(), dtype=torch.float32)
    losses = []
    for _ in range(150):
        loss, errors = network(*shown())
        loss.backward()
        optimiser.step(1e-2)
        losses.append(float(loss.detach()))
    assert errors.shape == (4,)
    assert losses[-1] < 0.6 * losses[0]


def test_the_loss_is_the_published_one():
    model = new_mae(image_size=32, **TINY)
    pixels, noise = shown()
    theirs = model(pixels, noise=noise)
    assert theirs.mask.sum(1).tolist() == [12.0] * 4  # three quarters of 16
    torch.testing.assert_close(MaskedLoss(model)(pixels, noise)[0], theirs.loss)


def test_a_new_network_knows_places_and_is_small():
    model = new_mae()
    assert 2 * sum(p.numel() for p in model.parameters()) < 10e6
    assert model.vit.embeddings.patch_embeddings.num_patches == 256
    for places in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        assert len(places[0, 1:].unique(dim=0)) == 256  # every patch another
        assert not places.requires_grad
    assert model.vit.embeddings.cls_token.std() > 0.01
    assert model.decoder.mask_token.std() > 0.01
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), new_mae().parameters()))


def test_what_is_written_loads_in_the_plain_library_and_is_read_by_shiftless(tmp_path, train):
    folder = train(tmp_path)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert {tensor.dtype for tensor in weights(folder).values()} == {torch.float16}
    pixels, _ = shown(2)
    theirs = ViTMAEModel.from_pretrained(folder, mask_ratio=0.0).eval()
    with torch.no_grad():
        tokens = theirs(pixels, noise=torch.arange(16.0).expand(2, -1)).last_hidden_state
    model = shiftless.load(folder, device="cpu", dtype="fp32")
    assert (model.spec.family, model.spec.size) == ("vit", 32)
    latent = pixels * torch.tensor(model.prepared.std).view(3, 1, 1) + torch.tensor(model.prepared.mean).view(3, 1, 1)
    (last,) = (tap for tap in model.taps if tap.name == "last")
    read = model.denoise(2 * latent - 1, 0, model.encode_prompt([""] * 2), [last]).maps["last"]
    torch.testing.assert_close(read.flatten(2).transpose(1, 2), tokens[:, 1:], atol=1e-4, rtol=1e-4)
    whole = ViTMAEForPreTraining.from_pretrained(folder)
    assert whole.decoder.decoder_pos_embed.std() > 0.1
    bucket = shiftless.extract(model, torch.rand(3, 32, 32))
    assert bucket["last"].isfinite().all()


def test_what_is_saved_predicts_what_was_trained(tmp_path):
    model = new_mae(image_size=32, **TINY).half().float()
    save_mae(tmp_path, model)
    with torch.no_grad():
        ours, saved = (
            one(shown()[0], noise=shown()[1]) for one in (model, ViTMAEForPreTraining.from_pretrained(tmp_path))
        )
    torch.testing.assert_close(saved.logits, ours.logits, atol=1e-5, rtol=1e-5)


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path, train, monkeypatch):
    whole = weights(train(tmp_path / "a"))
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
    assert not (tmp_path / "b" / "mae").exists()
    resumed, other = weights(train(tmp_path / "b")), weights(train(tmp_path / "c", seed=1))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert any(not torch.equal(whole[name], other[name]) for name in whole)
    further = weights(train(tmp_path / "on", start_from=tmp_path / "a", images=4, lr=1e-4))
    gaps = {name: float((further[name] - tensor).abs().max()) for name, tensor in whole.items()}
    assert 0 < max(gaps.values()) < 0.01  # a step away, not drawn anew
    assert {gaps[name] for name in gaps if "pos" in name} == {0.0}


def test_bad_input_is_one_line_that_says_what_to_do(tmp_path, train):
    new_mae(**TINY).save_pretrained(tmp_path / "large")
    for options, message in (
        ({"start_from": tmp_path}, "no masked autoencoder here"),
        ({"start_from": shiftless.mini.weights() / "captioner"}, "no masked autoencoder here"),
        ({"start_from": tmp_path / "large"}, "takes pictures of 128 pixels, and those drawn have 32"),
        ({"images": None}, "give a length"),
    ):
        with pytest.raises(BadInput, match=message) as caught:
            train(tmp_path / "out", **options)
        assert "\n" not in str(caught.value)
