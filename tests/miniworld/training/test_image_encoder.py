"""The image encoder that an IP-Adapter begins with: it learns from a captioner, and its run can be stopped."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPVisionModelWithProjection

from miniworld.training.captioner import new_captioner, save_captioner
from miniworld.training.clip import normalised
from miniworld.training.image_encoder import ImageEncoderLoss, mirrored, new_encoder, train_image_encoder
from miniworld.training.image_prompt import trained_encoder
from miniworld.training.pictures import PictureFolder
from miniworld.training.stage import Stage
from miniworld.training.vae import to_tensor
from shiftless.conditions.image_prompt import image_processor
from shiftless.errors import BadInput
from tests.interrupted import interrupt_after

CAPTIONER = {
    "depths": (1, 1, 1), "hidden_sizes": (8, 16, 32), "num_attention_heads": (1, 1, 1), "n_embd": 32, "n_layer": 1,
    "n_head": 2,
}  # fmt: skip
TINY = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def captioner(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("model") / "captioner"
    folder.mkdir()
    save_captioner(folder, new_captioner(tokenizer, **CAPTIONER), tokenizer)
    return folder


@pytest.fixture
def train(captioner, drawn):
    def run(out, *, images=24, **options):
        stage = Stage(out, images=images, pictures=drawn, draw=False, compile=False, device="cpu", checkpoint_minutes=0)
        return train_image_encoder(stage, **{"captioner": captioner.parent, "batch": 8, "changes": TINY, **options})

    return run


def test_it_learns_what_the_captioner_sees_of_every_patch(drawn, tokenizer):
    torch.manual_seed(0)
    network = ImageEncoderLoss(new_encoder(32, **TINY), new_captioner(tokenizer, **CAPTIONER))
    images = np.stack([PictureFolder(drawn)[row][0] for row in range(8)])
    batch, losses = (normalised(torch.from_numpy(images)), to_tensor(images)), []
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 1e-2)
    for _ in range(60):
        loss, _ = network(*batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert all(p.grad is None for p in network.captioner.parameters())  # the captioner is only looked at


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path, train, monkeypatch):
    whole = load_file(train(tmp_path / "a") / "model.safetensors")
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "b")
    resumed = load_file(train(tmp_path / "b") / "model.safetensors")
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    assert isinstance(trained_encoder(tmp_path / "b" / "image-encoder"), CLIPVisionModelWithProjection)
    assert trained_encoder(tmp_path / "c") is None


def test_a_captioner_that_sees_other_patches_or_none_is_refused(tmp_path, train):
    with pytest.raises(BadInput, match=r"patches of 16 pixels.*those of 8"):
        train(tmp_path / "a", changes={**TINY, "patch_size": 8})
    with pytest.raises(BadInput, match="no captioner is here"):
        train(tmp_path / "b", captioner=tmp_path)


def test_pictures_are_prepared_as_by_clip_s_processor_and_mirrored_by_chance(drawn):
    pictures = PictureFolder(drawn)
    images = mirrored(pictures, list(range(10)), [3])
    turned = [not np.array_equal(image, pictures[row][0]) for row, image in enumerate(images)]
    assert 0 < sum(turned) < 10
    for row, turn in enumerate(turned):
        assert np.array_equal(images[row], pictures[row][0][:, ::-1] if turn else pictures[row][0])
    expected = image_processor(32)([*images], return_tensors="pt").pixel_values
    torch.testing.assert_close(normalised(torch.from_numpy(images)), expected, atol=1e-5, rtol=1e-5)
