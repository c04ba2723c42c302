"""Training of the embedded model, on networks that take a second."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st

from miniworld.datasets import SEEDS
from miniworld.training.architecture import new_text_encoder, new_unet, new_vae
from miniworld.training.attention import PlainAttention
from miniworld.training.budget import Budget, learning_rate
from miniworld.training.captioner import new_captioner, save_captioner
from miniworld.training.checkpoint import swap_folder
from miniworld.training.compiled import compiled
from miniworld.training.encoded_pictures import SHARES, EncodedPictures, fingerprint, tokenize
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.norm import FastGroupNorm, FastGroupNormSiLU, RepeatUpsample, kernel, use_kernel
from miniworld.training.pictures import PictureFolder, crops, draw_pictures
from miniworld.training.proof import prove
from miniworld.training.stage import Stage
from miniworld.training.tokenizer import new_tokenizer, save_tokenizer
from miniworld.training.unet import save_pipeline, train_unet
from miniworld.training.vae import standardise, to_tensor, train_vae
from miniworld.world.captions import vocabulary
from shiftless.errors import BadInput
from tests.interrupted import interrupt_after

TINY_VAE = {"block_out_channels": (8, 8, 16), "norm_num_groups": 4, "sample_size": 32}
TINY_UNET = {
    "block_out_channels": (8, 16, 16),
    "norm_num_groups": 4,
    "attention_head_dim": 2,
    "sample_size": 8,
}


@pytest.fixture(scope="module")
def tiny_vae(tmp_path_factory, drawn):
    out = tmp_path_factory.mktemp("vae")
    return train_vae(Stage(out, images=16, pictures=drawn, **SMALL), **TINY_RUN)


SMALL = {"draw": False, "compile": False, "device": "cpu"}
TINY_RUN = {"batch": 4, "crop": 16, "changes": TINY_VAE}


def weights(folder):
    from safetensors.torch import load_file

    return {
        f"{path.parent.name}.{name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def test_an_interrupted_autoencoder_ends_where_an_uninterrupted_one_does(tmp_path, drawn, monkeypatch):
    how = {"images": 8, "pictures": drawn, **SMALL}
    whole = weights(train_vae(Stage(tmp_path / "a", **how), **TINY_RUN))
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train_vae(Stage(tmp_path / "b", checkpoint_minutes=0, **how), **TINY_RUN)
    assert not (tmp_path / "b" / "vae").exists()
    resumed = weights(train_vae(Stage(tmp_path / "b", **how), **TINY_RUN))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    other = weights(train_vae(Stage(tmp_path / "c", seed=1, **how), **TINY_RUN))
    assert any(not torch.equal(whole[name], other[name]) for name in whole)


def test_an_autoencoder_to_start_from_keeps_its_latents(tmp_path, drawn, tiny_vae, tokenizer):
    again = train_vae(Stage(tmp_path, images=8, pictures=drawn, **SMALL), start_from=tiny_vae, batch=4, crop=16)
    before, after = (AutoencoderKL.from_pretrained(folder) for folder in (tiny_vae, again))
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        assert torch.equal(before.encode(x).latent_dist.mean, after.encode(x).latent_dist.mean)
        z = before.encode(x).latent_dist.mean
        assert not torch.equal(before.decode(z).sample, after.decode(z).sample)
    assert fingerprint(before, tokenizer) == fingerprint(after, tokenizer)


def test_an_interrupted_denoiser_ends_where_an_uninterrupted_one_does(tmp_path, drawn, tiny_vae, monkeypatch):
    how = {"images": 16, "pictures": drawn, **SMALL}
    options = {"batch": 4, "vae": tiny_vae, "changes": TINY_UNET}
    whole = weights(train_unet(Stage(tmp_path / "a", **how), **options))
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            train_unet(Stage(tmp_path / "b", checkpoint_minutes=0, **how), latest=tmp_path / "latest", **options)
    assert (tmp_path / "latest" / "model_index.json").exists()
    assert len(list((tmp_path / "b").glob("latents-*/*.npz"))) == 2
    resumed = weights(train_unet(Stage(tmp_path / "b", **how), **options))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    latest = weights(tmp_path / "latest")
    trained = [name for name in whole if not torch.equal(whole[name], latest[name])]
    assert any(name.startswith("unet") for name in trained)
    assert any(name.startswith("text_encoder") for name in trained)


def test_the_folder_loads_with_the_plain_pipeline_and_trains_on(tmp_path, drawn, tiny_vae, tokenizer):
    from diffusers import StableDiffusionPipeline

    vae = AutoencoderKL.from_pretrained(tiny_vae)
    unet, text_encoder = new_unet(**TINY_UNET), new_text_encoder(tokenizer)
    save_pipeline(tmp_path / "mini", vae, unet, text_encoder, tokenizer)
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "mini")
    pipe.set_progress_bar_config(disable=True)
    assert {pipe.unet.dtype, pipe.vae.dtype, pipe.text_encoder.dtype} == {torch.float32}
    image = pipe("a photo of a horse", num_inference_steps=2, height=32, width=32, output_type="np").images[0]
    assert image.shape == (32, 32, 3)
    assert np.isfinite(image).all()
    for name, tensor in unet.state_dict().items():
        torch.testing.assert_close(pipe.unet.state_dict()[name], tensor, atol=2e-3, rtol=1e-3)
    assert not any(str(tmp_path.parent) in path.read_text() for path in (tmp_path / "mini").rglob("*.json"))
    stage = Stage(tmp_path / "on", images=4, pictures=drawn, **SMALL)
    further = train_unet(stage, start_from=tmp_path / "mini", batch=4, changes=TINY_UNET)
    before, after = weights(tmp_path / "mini"), weights(further)
    name = "unet.mid_block.attentions.0.proj_in.weight"
    assert 0 < (before[name].float() - after[name].float()).abs().max() < 0.01  # a step away, not drawn anew


def test_prove_measures_every_claim(tmp_path, tiny_vae, tokenizer):
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(tiny_vae)
    save_pipeline(tmp_path / "mini", vae, new_unet(**TINY_UNET), new_text_encoder(tokenizer), tokenizer)
    tiny = {"depths": (1, 1, 1), "hidden_sizes": (8, 8, 8), "num_attention_heads": (1, 1, 1), "n_embd": 8, "n_head": 1}
    save_captioner(tmp_path / "mini" / "captioner", new_captioner(tokenizer, **tiny), tokenizer)
    report = prove(tmp_path / "mini", tmp_path / "proof", pictures=4, samples=2, probes=(16, 8), steps=1)
    assert 0 < report["psnr_db"] < 40
    assert set(report["captions"]["tests"]) == {"fine < class", "class < empty", "fine < empty"}
    assert set(report["worlds"]) == {"bedrooms", "streets"}
    assert all(
        0 < world["psnr_db"] < 40 and len(world["captions"]["tests"]) == 3 for world in report["worlds"].values()
    )
    assert all(value > 0 for value in report["attention"].values())
    assert 0 <= report["probes"]["kind"]["features"] <= 1
    assert report["captioner"]["exact"] == 0  # random weights
    assert (tmp_path / "proof" / "samples.png").stat().st_size > 1000
    with pytest.raises(BadInput, match=r"no model_index\.json"):
        prove(tmp_path, tmp_path / "proof")


def test_standardised_latents_have_deviation_one_and_pictures_stay(drawn):
    vae, data = new_vae(**TINY_VAE).eval(), PictureFolder(drawn)
    x = to_tensor(np.stack([data[i][0] for i in range(10)]))
    with torch.no_grad():
        before = vae.decode(vae.encode(x).latent_dist.mean).sample
        standardise(vae, data)
        posterior = vae.encode(x).latent_dist
        after = vae.decode(posterior.mean).sample
    torch.testing.assert_close(before, after, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(posterior.mean.std((0, 2, 3)), torch.ones(4), atol=0.15, rtol=0)
    torch.testing.assert_close(posterior.mean.mean((0, 2, 3)), torch.zeros(4), atol=0.3, rtol=0)


def test_every_word_of_the_captions_is_one_token(tokenizer):
    assert all(tokenizer.tokenize(word) == [word + "</w>"] for word in vocabulary())
    ids = tokenizer("a photo of a horse").input_ids
    assert (ids[0], ids[-1], len(ids)) == (tokenizer.bos_token_id, tokenizer.eos_token_id, 7)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_77_known_tokens(tokenizer, text):
    ids = tokenize(tokenizer, [text])
    assert ids.shape == (1, 77)
    assert (ids >= 0).all()
    assert (ids < len(tokenizer)).all()


def test_the_tokenizer_survives_the_disk(tmp_path, tokenizer):
    from transformers import CLIPTokenizer

    save_tokenizer(tokenizer, tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path)
    for text in ("a photo of a zebra, facing left", "Straße, 日本 🐎", "", "word " * 200):
        assert (tokenize(again, [text]) == tokenize(tokenizer, [text])).all()
    assert again.decode(again("a brown horse").input_ids, skip_special_tokens=True) == "a brown horse"


def test_plain_attention_is_the_usual_attention():
    unet = new_unet(**TINY_UNET).eval()
    x, prompt = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 128)
    with torch.no_grad():
        usual = unet(x, 10, prompt).sample
        unet.set_attn_processor(PlainAttention())
        torch.testing.assert_close(unet(x, 10, prompt).sample, usual, atol=1e-5, rtol=1e-4)


needs_compiler = pytest.mark.skipif(kernel() is None, reason="no C compiler for the fast norm")


@needs_compiler
@pytest.mark.parametrize("module", [FastGroupNorm, FastGroupNormSiLU])
@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 8), (6, 3)])
def test_the_fast_norm_is_the_usual_norm_forward_and_backward(module, channels, groups):
    generator = torch.Generator().manual_seed(0)
    fast = module(groups, channels)
    fast.weight.data = torch.randn(channels, generator=generator).bfloat16()
    fast.bias.data = torch.randn(channels, generator=generator).bfloat16()
    x = (torch.randn(3, channels, 5, 7, generator=generator) * 2 + 1).bfloat16()
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    upstream = torch.randn(3, channels, 5, 7, generator=generator)
    y = fast(x)
    assert y.dtype == torch.bfloat16
    y.backward(upstream.bfloat16())
    exact_x = x.detach().double().requires_grad_()
    weight, bias = (p.detach().double().requires_grad_() for p in (fast.weight, fast.bias))
    exact = torch.nn.functional.group_norm(exact_x, groups, weight, bias)
    exact = torch.nn.functional.silu(exact) if module is FastGroupNormSiLU else exact
    exact.backward(upstream.bfloat16().double())
    torch.testing.assert_close(y.double(), exact, atol=0.02, rtol=0.01)
    for ours, theirs in ((x.grad, exact_x.grad), (fast.weight.grad, weight.grad), (fast.bias.grad, bias.grad)):
        assert (ours.double() - theirs).norm() < 0.005 * theirs.norm()


def test_a_doubling_that_repeats_is_the_usual_one():
    from diffusers.models.upsampling import Upsample2D

    usual = Upsample2D(4, use_conv=True)
    x = torch.randn(2, 4, 5, 3).to(memory_format=torch.channels_last)
    expected = usual(x)
    usual.__class__ = RepeatUpsample
    torch.testing.assert_close(usual(x), expected, atol=1e-6, rtol=1e-5)
    assert usual(x, output_size=(9, 5)).shape == (2, 4, 9, 5)


def test_a_compiler_that_loses_gradients_is_not_believed(monkeypatch):
    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.low, self.high = torch.nn.Linear(3, 3), torch.nn.Linear(3, 1)

        def forward(self, x, broken=False):
            hidden = self.low(x)
            loss = self.high(hidden.detach() if broken else hidden).square().mean()
            return loss, loss.detach()

    network, message = Loss(), []
    monkeypatch.setattr(torch, "compile", lambda network, **_: lambda x: network(x))
    assert compiled(network, [(torch.ones(2, 3),)], message.append) is not network
    assert message == []
    monkeypatch.setattr(torch, "compile", lambda network, **_: lambda x: network(x, broken=True))
    assert compiled(network, [(torch.ones(2, 3),)], message.append) is network
    assert "low.weight" in message[0]
    assert all(p.grad is None for p in network.parameters())


@needs_compiler
@pytest.mark.parametrize("build", [lambda: new_unet(**TINY_UNET), lambda: new_vae(**TINY_VAE)])
def test_a_network_with_the_fast_norm_computes_the_same(build):
    plain, fast = build(), build()
    assert use_kernel(fast)
    assert plain.state_dict().keys() == fast.state_dict().keys()
    x = torch.randn(2, plain.config.in_channels, 16, 16, generator=torch.Generator().manual_seed(0))
    inputs = (x,) if hasattr(plain, "encoder") else (x, torch.tensor([10, 900]), torch.ones(2, 77, 128))
    with torch.no_grad():
        expected = plain(*inputs).sample
        torch.testing.assert_close(fast(*inputs).sample, expected, atol=1e-5, rtol=1e-4)  # float32: the usual way
        half = [i.bfloat16() if i.is_floating_point() else i for i in inputs]
        ours = fast.bfloat16()(*half).sample.float()
        theirs = plain.bfloat16()(*half).sample.float()
    assert (ours - expected).norm() < 1.2 * (theirs - expected).norm() + 1e-3  # no less exact than bfloat16 is


def test_the_master_copy_learns_what_bfloat16_alone_would_round_away():
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(1.0)
    optimiser = Fp32MasterAdamW(layer.parameters(), weight_decay=0.0, clip=1e9)
    for _ in range(20):
        layer(torch.ones(1, 1, dtype=torch.bfloat16)).sum().backward()
        optimiser.step(1e-4)  # a fortieth of bfloat16's spacing at 1
    assert float(optimiser.master[0]) == pytest.approx(1 - 20e-4, abs=1e-5)
    with optimiser.averaged():
        assert layer.weight.dtype == torch.float32
        assert 1 - 20e-4 < float(layer.weight.detach()) < 1
    assert layer.weight.dtype == torch.bfloat16


def test_batches_follow_seed_and_step(tmp_path, tokenizer):
    tokens = tokenize(tokenizer, ["a photo", "a photo of a cow", "a photo of a black cow"] * 40).reshape(40, 3, -1)
    latents = np.arange(40, dtype=np.float16)[:, None, None, None] * np.ones((1, 4, 8, 8), np.float16)
    np.savez(tmp_path / "0.npz", latents=latents, tokens=tokens)
    data, empty = EncodedPictures(tmp_path), torch.from_numpy(tokenize(tokenizer, [""]))
    one, again, other = (data.batch(8, 0, step, empty) for step in (3, 3, 4))
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["noise"], other["noise"])
    epoch = torch.cat([data.batch(8, 0, step, empty)["latents"][:, 0, 0, 0] for step in range(5)])
    assert sorted(epoch.tolist()) == list(range(40))  # an epoch shows each picture once
    assert sorted((one["timesteps"] * 8 // 1000).tolist()) == list(range(8))  # one timestep in each eighth
    many = torch.cat([data.batch(8, 0, step, empty)["tokens"] for step in range(100)])
    dropped = (many == empty).all(1).float().mean()
    assert abs(float(dropped) - SHARES[0]) < 0.05


def test_latents_of_another_autoencoder_or_tokenizer_are_kept_apart(tokenizer, monkeypatch):
    names = [fingerprint(new_vae(seed, **TINY_VAE), tokenizer) for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]
    assert fingerprint(new_vae(0, **TINY_VAE), new_tokenizer(["horse"])) != names[0]
    monkeypatch.setattr("miniworld.training.encoded_pictures.LENGTH", 12)
    assert fingerprint(new_vae(0, **TINY_VAE), tokenizer) != names[0]


def test_pictures_are_drawn_once_and_found_again(tmp_path):
    draw_pictures(tmp_path, 3, size=32, workers=1)
    first = (tmp_path / "0000000000.npy").stat().st_mtime_ns
    draw_pictures(tmp_path, 3, size=32, workers=1)
    assert (tmp_path / "0000000000.npy").stat().st_mtime_ns == first
    data = PictureFolder(tmp_path)
    assert len(data) == 3
    assert data[2][1]["captions"][0] == "a photo"
    with pytest.raises(IndexError):
        data[3]
    assert np.array_equal(crops(data, 4, 16, 0, 7), crops(data, 4, 16, 0, 7))
    with pytest.raises(BadInput, match="the seeds of 'model' are 0 to 699999"):
        draw_pictures(tmp_path, 2, first=SEEDS["model"].stop - 1)


def test_a_folder_that_fails_to_be_written_leaves_the_old_one(tmp_path):
    def fail(path):
        (path / "half").write_text("x")
        raise OSError("disk full")

    swap_folder(tmp_path / "a", lambda path: (path / "f").write_text("old"))
    with pytest.raises(OSError, match="disk full"):
        swap_folder(tmp_path / "a", fail)
    assert (tmp_path / "a" / "f").read_text() == "old"


def test_the_budget_ends_the_run_and_bends_the_rate():
    budget = Budget(images=100)
    budget.spend(50)
    assert budget.progress() == 0.5
    budget.spend(80)
    assert budget.progress() == 1
    rates = [learning_rate(1.0, p / 100, p * 100) for p in range(2, 101)]
    assert all(a > b for a, b in pairwise(rates))
    for wrong in ({}, {"minutes": 1.0, "images": 1}, {"minutes": 0.0}, {"images": -1}):
        with pytest.raises(BadInput, match="give a length"):
            Budget(**wrong)


def test_the_denoiser_asks_for_an_autoencoder(tmp_path):
    with pytest.raises(BadInput, match="no autoencoder"):
        train_unet(Stage(tmp_path, images=4))
