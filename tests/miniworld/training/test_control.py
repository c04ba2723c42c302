"""The training of the Canny ControlNet, on networks that take a second."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline
from safetensors.torch import load_file

from miniworld.training.architecture import new_text_encoder, new_unet, new_vae
from miniworld.training.control import LEVELS, SHARES, ControlLoss, new_controlnet, opened, train_controlnet
from miniworld.training.edges import EdgeMaps, draw_edges
from miniworld.training.encoded_pictures import EncodedPictures, fingerprint, tokenize
from miniworld.training.pictures import PictureFolder
from miniworld.training.proof import control_effect
from miniworld.training.stage import Stage
from miniworld.training.tokenizer import new_tokenizer
from miniworld.training.unet import save_pipeline
from miniworld.training.vae import to_tensor
from shiftless.conditions.control_maps import canny
from shiftless.errors import BadInput
from tests.interrupted import interrupt_after

TINY_VAE = {"block_out_channels": (8, 8, 16), "norm_num_groups": 4, "sample_size": 32}
TINY_UNET = {"block_out_channels": (8, 16, 16), "norm_num_groups": 4, "attention_head_dim": 2, "sample_size": 8}


@pytest.fixture(scope="module")
def model(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("model")
    text_encoder = new_text_encoder(tokenizer, num_hidden_layers=1)
    save_pipeline(folder, new_vae(**TINY_VAE), new_unet(**TINY_UNET), text_encoder, tokenizer)
    return folder


@pytest.fixture
def train(model, drawn):
    def run(out, *, images=16, seed=0, checkpoint_minutes=5, **options):
        how = {"images": images, "seed": seed, "checkpoint_minutes": checkpoint_minutes, "device": "cpu"}
        stage = Stage(out, pictures=drawn, draw=False, compile=False, **how)
        return train_controlnet(stage, **{"model": model, "batch": 4, **options})

    return run


def weights(folder):
    return ControlNetModel.from_pretrained(folder).state_dict()


def test_edges_survive_the_packing_and_are_drawn_once(tmp_path, drawn):
    pictures = PictureFolder(drawn)
    draw_edges(pictures, tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(written) == 2
    draw_edges(pictures, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
    maps, rows = EdgeMaps(tmp_path), [7, 0, 5, 6, 9]
    assert (len(maps), maps.bits.nbytes) == (10, 10 * 32 * 32 // 8)
    expected = np.stack([cv2.Canny(np.array(pictures[row][0]), 100, 200) for row in rows]) / 255
    assert 0 < expected.mean() < 0.5
    batch = maps.batch(torch.tensor(rows))
    assert np.array_equal(batch[:, 0].numpy(), expected)
    shown = canny(to_tensor(np.stack([pictures[row][0] for row in rows])))  # what a reading shows the ControlNet
    assert torch.equal(batch.float().expand(-1, 3, -1, -1), shown)
    with pytest.raises(BadInput, match="no edge maps"):
        EdgeMaps(tmp_path / "none")


def test_a_new_controlnet_changes_nothing_yet_sees_the_edges():
    unet = new_unet(**TINY_UNET).eval()
    net = new_controlnet(unet, stride=4).eval()
    noisy, prompt, edges = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 128), torch.rand(2, 3, 32, 32).round()
    assert net.controlnet_cond_embedding(edges).shape == (2, 8, 8, 8)
    assert net.controlnet_cond_embedding(edges).std() > 0.01
    with torch.no_grad():
        down, mid = net(noisy, 100, prompt, edges, return_dict=False)
        guides = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        assert torch.equal(unet(noisy, 100, prompt, **guides).sample, unet(noisy, 100, prompt).sample)
    assert torch.equal(net.mid_block.attentions[0].proj_in.weight, unet.mid_block.attentions[0].proj_in.weight)


def test_gradients_reach_every_weight_while_the_zeros_are_opened(tokenizer):
    unet, text_encoder = new_unet(**TINY_UNET), new_text_encoder(tokenizer, num_hidden_layers=1)
    net = new_controlnet(unet, stride=4)
    network = ControlLoss(net, unet.requires_grad_(False), text_encoder.requires_grad_(False))
    tokens = torch.from_numpy(tokenize(tokenizer, [""] * 2)).long()
    batch = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.tensor([50, 500]), tokens
    edges = torch.ones(2, 1, 32, 32, dtype=torch.uint8)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}

    def reached():
        network.zero_grad()
        network(*batch, edges)[0].backward()
        return {name for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}

    assert all("controlnet_down_blocks" in name or "controlnet_mid_block" in name for name in reached())
    with opened(net):
        reached_names = reached()
    ours = {f"controlnet.{name}" for name, _ in net.named_parameters()}
    assert reached_names <= ours
    # a softmax over keys does not see what shifts all of them alike
    assert {name for name in ours - reached_names if "to_k.bias" not in name} == set()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path, train, model, monkeypatch):
    frozen = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    whole = weights(train(tmp_path / "a"))
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "b", checkpoint_minutes=0, latest=tmp_path / "latest")
    assert not (tmp_path / "b" / "controlnet-canny").exists()
    early, resumed = weights(tmp_path / "latest"), weights(train(tmp_path / "b"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    other = weights(train(tmp_path / "c", seed=1))
    for different in (early, other):
        assert any(not torch.equal(whole[name], different[name]) for name in whole)
    assert {path: path.read_bytes() for path in model.rglob("*") if path.is_file()} == frozen


def test_what_is_written_loads_and_steers_the_plain_pipeline(tmp_path, train, model):
    from diffusers import StableDiffusionControlNetPipeline

    folder = train(tmp_path / "run", lr=0.05)
    assert {path.name for path in folder.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert str(tmp_path.parent) not in (folder / "config.json").read_text()
    stored = load_file(folder / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    net = ControlNetModel.from_pretrained(folder)
    assert all(p.isfinite().all() for p in net.parameters())
    pipe = StableDiffusionControlNetPipeline.from_pretrained(model, controlnet=net)
    pipe.set_progress_bar_config(disable=True)

    def drawing(edges, scale=1.0):
        return pipe(
            "a photo",
            image=edges,
            num_inference_steps=2,
            height=32,
            width=32,
            controlnet_conditioning_scale=scale,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
        ).images[0]

    square = torch.zeros(1, 3, 32, 32)
    square[..., 8:24, 8:24] = 1.0
    assert np.isfinite(drawing(square)).all()
    assert np.abs(drawing(square) - drawing(torch.zeros(1, 3, 32, 32))).max() > 1e-4
    assert np.array_equal(drawing(square, 0.0), drawing(torch.zeros(1, 3, 32, 32), 0.0))
    further = weights(train(tmp_path / "on", start_from=folder, images=4, lr=1e-4))
    gaps = [float((further[name] - tensor).abs().max()) for name, tensor in weights(folder).items()]
    assert 0 < max(gaps) < 0.01  # a step away, not drawn anew


def test_batches_pair_pictures_with_their_edges_and_stay_where_features_are_read(tmp_path, tokenizer):
    tokens = tokenize(tokenizer, ["a photo", "a photo of a cow", "a photo of a black cow"] * 40).reshape(40, 3, -1)
    latents = np.arange(40, dtype=np.float16)[:, None, None, None] * np.ones((1, 4, 8, 8), np.float16)
    np.savez(tmp_path / "0.npz", latents=latents, tokens=tokens)
    data, empty = EncodedPictures(tmp_path), torch.from_numpy(tokenize(tokenizer, [""]))
    batches = [data.batch(8, 0, step, empty, shares=SHARES, levels=LEVELS) for step in range(100)]
    for step, batch in enumerate(batches[:20]):
        assert batch["latents"][:, 0, 0, 0].tolist() == data.rows(8, 0, step).tolist()
    t = torch.cat([batch["timesteps"] for batch in batches])
    assert (t.min() >= 0, t.max() < 1000) == (True, True)
    assert abs(float((t < 420).float().mean()) - 0.80) < 0.01
    assert float((t < 20).float().mean()) < 0.02
    dropped = torch.cat([batch["tokens"] == empty for batch in batches]).all(1).float().mean()
    assert abs(float(dropped) - SHARES[0]) < 0.06


def test_the_proof_sees_what_training_changed(tmp_path, train, model):
    pipe = StableDiffusionPipeline.from_pretrained(model)
    fresh = control_effect(pipe, new_controlnet(pipe.unet, stride=4), 2)
    assert {test["difference"] for test in fresh["tests"].values()} == {0.0}
    trained = ControlNetModel.from_pretrained(train(tmp_path, images=320, batch=8, lr=2e-2))
    effect = control_effect(pipe, trained, 4)
    assert effect["noise_error"]["own"]["t500"] < effect["noise_error"]["none"]["t500"]
    assert effect["tests"]["own < none, t = 500"]["high"] < 0
    assert effect["tests"]["own < other, t = 100"]["difference"] != 0  # it depends on the edges


def test_bad_input_is_one_line_that_says_what_to_do(tmp_path, train, model):
    for options, message in (
        ({"model": tmp_path}, "no model_index.json"),
        ({"start_from": tmp_path}, "no ControlNet here"),
        ({"images": None}, "give a length"),
    ):
        with pytest.raises(BadInput, match=message):
            train(tmp_path / "out", **options)
    wide = new_controlnet(new_unet(**{**TINY_UNET, "block_out_channels": (8, 16, 32)}), stride=4)
    wide.save_pretrained(tmp_path / "wide")
    with pytest.raises(BadInput, match="another model"):
        train(tmp_path / "out", start_from=tmp_path / "wide")
    np.save(tmp_path / "x.npy", np.zeros((3, 32, 4), np.uint8))
    (tmp_path / "few" / "edges").mkdir(parents=True)
    (tmp_path / "x.npy").rename(tmp_path / "few" / "edges" / "9999999999.npy")
    with pytest.raises(BadInput, match="13 edge maps for the 10 pictures"):
        train(tmp_path / "few")


def test_latents_made_by_the_saved_autoencoder_are_found_again(model):
    from diffusers import AutoencoderKL

    vae, tokenizer = new_vae(**TINY_VAE), new_tokenizer()
    rounded = AutoencoderKL.from_pretrained(model, subfolder="vae")
    for p in (*vae.parameters(), *rounded.parameters()):
        p.data = p.data.bfloat16().float()
    assert fingerprint(vae, tokenizer) == fingerprint(new_vae(**TINY_VAE), tokenizer)
    assert fingerprint(rounded, tokenizer) == fingerprint(AutoencoderKL.from_pretrained(model / "vae"), tokenizer)
