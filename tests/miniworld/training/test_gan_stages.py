"""The stages gan, gan-encoder and alae, on networks that take a second."""

from __future__ import annotations

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from miniworld.gan.alae import AlaeLoss, Judge, LatentDiscriminator
from miniworld.gan.encoder import Encoder
from miniworld.gan.generator import Generator
from miniworld.gan.inversion import picture_error
from miniworld.training.alae import train_alae
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.gan import train_gan
from miniworld.training.gan_encoder import EncoderLoss, new_encoder, train_gan_encoder
from miniworld.training.part_pictures import PartPictures, draw_part_shard
from miniworld.training.stage import Stage
from shiftless.errors import BadInput
from tests.interrupted import interrupt_after
from tests.simulated_device import simulated

SMALL = {"channels": (16, 12, 8)}
TRAIN = {"gan": train_gan, "gan-encoder": train_gan_encoder, "alae": train_alae}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("part-pictures")
    for first, label in ((0, 0), (5, 1)):
        draw_part_shard(str(folder), first, 5, 32, label)
    return folder


@pytest.fixture
def train(drawn):
    def run(out, name="gan", *, images=16, seed=0, checkpoint_minutes=5, **options):
        how = {"images": images, "seed": seed, "checkpoint_minutes": checkpoint_minutes, "device": "cpu"}
        stage = Stage(out, pictures=drawn, draw=False, **how)
        changes = {} if name == "gan-encoder" else {"changes": SMALL}
        return TRAIN[name](stage, **{"batch": 4, **changes, **options})

    return run


def weights(folder):
    return {
        f"{path.parent.name} {name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def test_a_batch_shows_horses_and_bedrooms_by_turns_and_every_picture_once_an_epoch(drawn):
    data = PartPictures(drawn)
    assert (len(data), data.side) == (10, 32)
    seen = []
    for step in range(5):
        images, labels = data.batch(2, seed=0, step=step)
        assert labels.tolist() == [0, 1]
        again, _ = data.batch(2, seed=0, step=step)
        np.testing.assert_array_equal(images, again)
        for image, label in zip(images, labels.tolist()):
            rows = data.rows[label]
            (found,) = [i for i in rows if any((data.pictures[i][0] == one).all() for one in (image, image[:, ::-1]))]
            seen.append(int(found))
    assert sorted(seen) == list(range(10))


def test_pictures_of_other_stages_are_refused(tmp_path):
    draw_part_shard(str(tmp_path), 0, 2, 32, 0)
    with pytest.raises(BadInput, match="not pictures of horses and bedrooms"):
        PartPictures(tmp_path)


@pytest.mark.parametrize("name", ["gan", "alae"])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path, train, monkeypatch, name):
    whole = weights(train(tmp_path / "a", name))
    assert {tensor.dtype for tensor in whole.values()} == {torch.float16}
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "b", name, checkpoint_minutes=0)
    assert not (tmp_path / "b" / name).exists()
    torch.rand(3)  # what others draw changes nothing
    resumed, other = weights(train(tmp_path / "b", name)), weights(train(tmp_path / "c", name, seed=1))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert any(not torch.equal(whole[key], other[key]) for key in whole)
    logs = [(tmp_path / run / f"{name}.log.jsonl").read_text() for run in "ab"]
    first, second = ({k: v for k, v in json.loads(text).items() if k != "seconds"} for text in logs)
    assert first == second
    assert {"d", "g", "real", "fake", "r1"} <= first.keys()
    further = weights(train(tmp_path / "on", name, start_from=tmp_path / "a", images=4, lr=1e-6))
    gaps = [float((further[key].float() - whole[key].float()).abs().max()) for key in whole if "means" not in key]
    assert max(gaps) < 0.05  # a small step away, not drawn anew


def test_the_encoder_is_trained_beside_its_generator_and_resumes(tmp_path, train, monkeypatch):
    train(tmp_path, images=4)
    before = weights(tmp_path / "gan")
    whole = weights(train(tmp_path, "gan-encoder"))
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "b", "gan-encoder", model=tmp_path, checkpoint_minutes=0)
    resumed = weights(train(tmp_path / "b", "gan-encoder", model=tmp_path / "gan"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert all(torch.equal(before[key], tensor) for key, tensor in weights(tmp_path / "gan").items())
    generator = Generator.from_pretrained(tmp_path / "gan" / "generator")
    encoder = Encoder.from_pretrained(tmp_path / "gan-encoder" / "encoder")
    assert encoder.config.styles == generator.styles
    assert encoder.scale.min() > 0


def test_an_encoder_learns_to_give_back_what_a_generator_painted():
    torch.manual_seed(0)
    generator = Generator(channels=(16, 12))
    network = EncoderLoss(generator, new_encoder(generator, n=256))
    optimiser = Fp32MasterAdamW(network.encoder.parameters(), dtype=torch.float32, weight_decay=0.0)
    generator.measure_means(n=256)
    labels, random = torch.arange(8) % 2, torch.Generator().manual_seed(0)
    for _ in range(50):
        z = torch.randn(8, 128, generator=random)
        with torch.no_grad():
            real = generator(torch.randn(8, 128, generator=random), labels)
        loss, _ = network(real, labels, z, torch.zeros(8, 2, 8, 8))
        loss.backward()
        optimiser.step(3e-3)
    assert all(p.grad is None for p in generator.parameters())
    with torch.no_grad():
        unseen = generator(torch.randn(8, 128, generator=random), labels)
        latents, _ = network.encoder(unseen)
        error = picture_error(generator.synthesise(latents)[0], unseen).mean()
        mean = picture_error(generator.synthesise(generator.means[labels])[0], unseen).mean()
    assert error < 0.7 * mean


def test_each_network_of_the_autoencoder_gets_what_it_is_to_do():
    torch.manual_seed(0)
    generator, encoder = Generator(channels=(16, 8)), Encoder(channels=(16, 8), styles=1)
    judge = Judge(encoder, LatentDiscriminator())
    random = torch.Generator().manual_seed(0)
    real, z = (torch.randn(4, *shape, generator=random) for shape in ((3, 16, 16), (128,)))
    labels, noise = torch.arange(4) % 2, torch.randn(4, 2, 8, 8, generator=random)
    AlaeLoss(generator, judge)(real, labels, z, noise)[0].backward()
    both = [*generator.named_parameters(), *judge.named_parameters()]
    ours = {name: p.grad.clone() for name, p in both}
    softplus = torch.nn.functional.softplus

    def expected(network, loss):
        parameters = dict(network.named_parameters())
        found = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)
        return {name: 0 if one is None else one for name, one in zip(parameters, found)}

    w = generator.mapping(z, labels)
    fake = generator.synthesise(w, noise)[0]
    back = (judge.encoder(fake)[0][:, 0] - w.detach()).square().mean()
    deceive = softplus(-judge(fake, labels)).mean()
    tell = softplus(-judge(real, labels)).mean() + softplus(judge(fake.detach(), labels)).mean()
    for network, losses in ((generator, (deceive, back)), (judge, (tell, back))):
        sums = [expected(network, loss) for loss in losses]
        for name in sums[0]:
            torch.testing.assert_close(ours[name], sums[0][name] + sums[1][name], atol=1e-6, rtol=1e-3)
            assert ours[name].abs().max() > 0, name


@pytest.mark.parametrize("name", ["gan", "alae"])
def test_a_step_on_a_device_is_that_of_the_cpu(name, tmp_path, drawn, monkeypatch):
    monkeypatch.setattr("miniworld.training.stage.choose_dtype", lambda *_: torch.float32)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    learned = []
    for device in ("cpu", "cuda:1"):
        with nullcontext() if device == "cpu" else simulated(device, monkeypatch):
            stage = Stage(tmp_path / device, images=4, pictures=drawn, draw=False, compile=False, device=device)
            learned.append(weights(TRAIN[name](stage, batch=4, changes=SMALL)))
    for key, here in learned[0].items():
        torch.testing.assert_close(learned[1][key], here, atol=5e-3, rtol=2e-2)


def test_bad_input_is_one_line_that_says_what_to_do(tmp_path, train):
    for name, options, message in (
        ("gan", {"start_from": tmp_path}, "no generator here"),
        ("gan", {"changes": {"channels": (16, 8)}}, "pictures of 32 pixels, and the generator paints 16"),
        ("gan-encoder", {"model": tmp_path}, "no generator here"),
        ("alae", {"start_from": tmp_path}, "no generator here"),
        ("alae", {"images": None}, "give a length"),
    ):
        with pytest.raises(BadInput, match=message) as caught:
            train(tmp_path / "out", name, **options)
        assert "\n" not in str(caught.value)
