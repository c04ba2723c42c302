"""Generator, discriminator, encoder and inversion, on networks that take milliseconds."""

from __future__ import annotations

import pytest
import torch

from miniworld.gan.discriminator import Discriminator, deviation
from miniworld.gan.encoder import Encoder
from miniworld.gan.generator import Generator
from miniworld.gan.inversion import invert, picture_error
from miniworld.gan.losses import AdversarialLoss, r1_penalty

SMALL = {"channels": (16, 12, 8)}


def batch(n=4, side=32):
    generator = torch.Generator().manual_seed(0)
    real = torch.rand(n, 3, side, side, generator=generator) * 2 - 1
    noise = torch.randn(n, 2, side // 2, side // 2, generator=generator)
    return real, torch.arange(n) % 2, torch.randn(n, 128, generator=generator), noise


def gradients(network):
    return {name: None if p.grad is None else p.grad.clone() for name, p in network.named_parameters()}


@pytest.fixture
def networks():
    torch.manual_seed(0)
    return Generator(**SMALL), Discriminator(**SMALL)


def test_all_networks_together_are_small():
    generator, encoder = Generator(), Encoder()
    assert (generator.size, generator.styles) == (128, 14)
    for network in (generator, encoder):
        assert 2 * sum(p.numel() for p in network.parameters()) < 10e6
    assert encoder.config.styles == generator.styles


def test_each_network_gets_the_gradient_of_its_own_loss(networks):
    generator, discriminator = networks
    real, labels, z, noise = batch()
    loss, _ = AdversarialLoss(generator, discriminator)(real, labels, z, noise)
    loss.backward()
    ours = gradients(generator), gradients(discriminator)
    for network in networks:
        network.zero_grad()
    fake = generator(z, labels, noise)
    softplus = torch.nn.functional.softplus
    softplus(-discriminator(fake, labels)).mean().backward()
    theirs = gradients(generator)
    discriminator.zero_grad()
    judged = discriminator(real, labels), discriminator(fake.detach(), labels)
    (softplus(-judged[0]).mean() + softplus(judged[1]).mean()).backward()
    for mine, other in zip(ours, (theirs, gradients(discriminator))):
        for name in mine:
            assert mine[name] is not None, name
            assert mine[name].abs().max() > 0, name
            torch.testing.assert_close(mine[name], other[name], atol=1e-7, rtol=1e-4)


def test_the_penalty_and_its_gradient_are_those_worked_by_hand():
    x, weight = torch.tensor([[1.0, -2.0], [3.0, 0.5]]).view(2, 1, 1, 2), torch.tensor(0.7, requires_grad=True)
    penalty = r1_penalty(lambda one: weight * one.square().sum((1, 2, 3)), x)  # the gradient is 2 w x
    penalty.backward()
    squares = (1 + 4 + 9 + 0.25) / 2
    assert float(penalty.detach()) == pytest.approx(4 * 0.7**2 * squares)
    assert float(weight.grad) == pytest.approx(8 * 0.7 * squares)


def test_the_penalty_reaches_the_weights_of_the_discriminator(networks):
    _, discriminator = networks
    real, labels, _, _ = batch()
    r1_penalty(lambda x: discriminator(x, labels), real).backward()
    weights = {name: p.detach() for name, p in discriminator.named_parameters()}

    def squared(values):  # the same by functional transforms
        def logits(x):
            return torch.func.functional_call(discriminator, values, (x, labels)).sum()

        return torch.func.grad(logits)(real).square().sum() / len(real)

    expected = torch.func.grad(squared)(weights)
    ours = gradients(discriminator)
    for name, value in expected.items():
        mine = torch.zeros_like(value) if ours[name] is None else ours[name]  # the last bias is in no gradient
        torch.testing.assert_close(mine, value, atol=1e-7, rtol=1e-3)
    assert ours["trunk.enter.weight"].abs().max() > 0


def test_a_picture_shows_its_label_its_latent_and_its_noise(networks):
    generator, _ = networks
    for block in generator.blocks:
        for strength in block.strengths:
            strength.data.fill_(0.5)
    _, labels, z, noise = batch()
    with torch.no_grad():
        shown = generator(z, labels, noise)
        alone = generator(z[1:2], labels[1:2], noise[1:2])
        others = generator(z, 1 - labels, noise), generator(z.flip(0), labels, noise), generator(z, labels)
        plain, maps = generator.synthesise(generator.mapping(z, labels))
    torch.testing.assert_close(shown[1:2], alone, atol=1e-5, rtol=1e-4)
    assert all((shown - other).abs().mean() > 1e-3 for other in others)
    torch.testing.assert_close(plain, others[2])
    assert [tuple(one.shape) for one in maps] == [(4, 16, 4, 4), (4, 12, 8, 8), (4, 8, 16, 16)]


def test_truncation_draws_latents_to_the_mean_of_their_label(networks):
    generator, _ = networks
    generator.measure_means(n=64)
    _, labels, z, _ = batch()
    means = generator.means[labels]
    torch.testing.assert_close(generator.sample(z, labels, 0.0), means)
    torch.testing.assert_close(generator.sample(z, labels), generator.mapping(z, labels).detach(), atol=1e-6, rtol=1e-5)
    assert (generator.means[0] - generator.means[1]).abs().max() > 1e-3
    middle = generator.sample(z, labels, 0.5) - means
    torch.testing.assert_close(2 * middle, generator.sample(z, labels) - means, atol=1e-5, rtol=1e-4)


def test_the_deviation_of_a_batch_is_of_groups_and_its_gradient_is_finite_where_all_are_alike():
    x = torch.zeros(8, 2, 3, 3, requires_grad=True)
    with torch.no_grad():
        x[::2] += torch.arange(4.0)[
            :, None, None, None
        ]  # pictures 0, 2, 4, 6: one group of four with a group size of 4
    spread = deviation(x, 4)
    assert spread.shape == (8, 1, 3, 3)
    expected = torch.arange(4.0).std(correction=0)
    assert float(spread[0].detach().mean()) == pytest.approx(float(expected), rel=1e-3)
    assert float(spread[1].detach().mean()) == pytest.approx(1e-4, rel=1e-2)
    spread.sum().backward()
    assert x.grad.isfinite().all()


def test_what_is_saved_is_what_is_loaded(networks, tmp_path):
    _, labels, z, _ = batch()
    generator, discriminator = networks
    encoder = Encoder(styles=generator.styles, **SMALL)
    generator.measure_means(n=64)
    picture = generator(z, labels)
    for network, inputs in ((generator, (z, labels)), (discriminator, (picture, labels)), (encoder, (picture,))):
        network.save_pretrained(tmp_path / "one")
        again = type(network).from_pretrained(tmp_path / "one")
        first, second = network(*inputs), again(*inputs)
        first, second = (one[0] if isinstance(one, tuple) else one for one in (first, second))
        torch.testing.assert_close(first, second)
    assert [path.name for path in (tmp_path / "one").glob("*.safetensors")]


def test_inversion_recovers_a_generated_picture_and_comes_nearer_than_its_start(networks):
    generator = networks[0].requires_grad_(False)
    generator.measure_means(n=64)
    _, labels, z, _ = batch()
    pixels = generator(3 * z, labels)
    start = picture_error(generator.synthesise(generator.means.mean(0).expand(4, -1))[0], pixels)
    latents = invert(generator, pixels, steps=60, rate=0.3, pull=0.0)
    error = picture_error(generator.synthesise(latents)[0], pixels)
    assert (error < 0.4 * start).all()
    alone = invert(generator, pixels[:1], steps=60, rate=0.3, pull=0.0)
    torch.testing.assert_close(generator.synthesise(alone)[0], generator.synthesise(latents[:1])[0], atol=0.05, rtol=0)
    held = invert(generator, pixels, steps=20, rate=0.3, pull=10.0)
    assert (held - generator.means.mean(0)).abs().mean() < (latents - generator.means.mean(0)).abs().mean()
