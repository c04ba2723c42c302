"""Offloading: what is on the device when, and that it changes no feature; tests/test_devices.py has a device for it."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

import shiftless
from shiftless.backbones import offload as offload_module
from shiftless.backbones.families import FAMILIES
from shiftless.backbones.offload import Offload, choose_offload
from shiftless.backbones.registry import models

META = torch.device("meta")
PICTURE = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)


def places(*networks: nn.Module) -> list[set[str]]:
    return [{one.device.type for one in network.state_dict().values()} for network in networks]


def test_one_network_is_there_at_a_time_and_the_last_one_stays():
    one, two = nn.Linear(2, 2), nn.BatchNorm2d(3)
    weight = one.weight
    offload = Offload([one, two], META)
    with offload.turn(one):
        assert places(one, two) == [{"meta"}, {"cpu"}]
    assert places(one, two) == [{"meta"}, {"cpu"}]
    with offload.turn(two):
        assert places(one, two) == [{"cpu"}, {"meta"}]
    with offload.turn():
        assert places(one, two) == [{"cpu"}, {"cpu"}]
    assert one.weight is weight


def test_a_turn_inside_a_turn_gives_the_outer_network_back():
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    offload = Offload([one, two], META)
    with offload.turn(one):
        with suppress(KeyError), offload.turn(two):
            assert places(one, two) == [{"cpu"}, {"meta"}]
            raise KeyError
        assert places(one, two) == [{"meta"}, {"cpu"}]


def test_two_models_take_turns_and_may_share_a_network():
    shared, mine, theirs = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
    a, b = Offload([shared, mine], META), Offload([shared, theirs], META)
    with a.turn(shared), b.turn(theirs):
        assert places(shared, mine, theirs) == [{"cpu"}, {"cpu"}, {"meta"}]
    with a.turn(mine):
        assert places(shared, mine, theirs) == [{"cpu"}, {"meta"}, {"cpu"}]
    with b.turn(shared):
        assert places(shared, mine, theirs) == [{"meta"}, {"cpu"}, {"cpu"}]


def test_the_weights_at_home_are_known_by_their_copies_and_tied_ones_stay_tied():
    network = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    network[1].weight = network[0].weight
    home = list(network.parameters())
    offload = Offload([network], META)
    with offload.turn(network):
        assert network[1].weight is network[0].weight
        there = offload.at_home(network.parameters())
    assert [id(one) for one in there] == [id(one) for one in home]


class Blocks(nn.Module):
    """Three blocks between two layers, one of which is used once more at the end, as in DiT."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(3))
        self.seen: list[list[str]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for module in (self.first, *self.blocks, self.blocks[0][0]):
            x = module(x)
            self.seen.append([*places(self.first, *self.blocks)])
        return x


def test_layers_are_there_one_block_at_a_time():
    network = Blocks()
    offload = Offload([network], META, layered=[network])
    with offload.turn(network):
        network(torch.zeros(1, 2, device=META))
    cpu, meta = {"cpu"}, {"meta"}
    first = [meta, meta, cpu, cpu]
    assert network.seen == [[meta, cpu, cpu, cpu], first, [meta, cpu, meta, cpu], [meta, cpu, cpu, meta], first]
    with offload.turn():
        assert places(network) == [{"cpu"}]
    network(torch.zeros(1, 2))  # outside its turn it runs in main memory


def test_what_a_stopped_pass_leaves_there_goes_home_with_the_rest():
    network = Blocks()
    offload = Offload([network], META, layered=[network])
    handle = network.blocks[1].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), offload.turn(network):
        network(torch.zeros(1, 2, device=META))
    handle.remove()
    assert places(network.blocks[1]) == [{"meta"}]
    with offload.turn():
        assert places(network) == [{"cpu"}]


def test_threads_wait_for_their_turn():
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    offload, seen = Offload([one, two], META), []

    def other() -> None:
        with offload.turn(two):
            seen.append(places(one, two))

    with offload.turn(one):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.1)
        assert (seen, places(one, two)) == ([], [{"meta"}, {"cpu"}])
    thread.join()
    assert seen == [[{"cpu"}, {"meta"}]]


@pytest.mark.parametrize("how", ["parts", "layers"])
def test_it_changes_no_feature_no_fingerprint_and_no_technique(how, goldens):
    lora = str(goldens / "tiny-lora" / "pytorch_lora_weights.safetensors")
    plain, offloaded = (shiftless.load("twin:sd15", device="cpu", dtype="fp32", offload=one) for one in ("", how))
    recipes = [
        shiftless.Recipe(taps=("up1", "up.cross.map.s16:horse"), prompt="a horse", size=64),
        shiftless.Recipe(taps=("up1",), lora=(lora,), image_prompt=("ip-adapter",), latent="sample", size=64),
        shiftless.Recipe(taps=("up1",), control=("canny",), start=60, steps=1, size=64),
    ]
    assert offloaded.fingerprint == plain.fingerprint
    there, here = (shiftless.extract(one, PICTURE, recipes) for one in (offloaded, plain))
    for one, other in zip(there, here, strict=True):
        assert all(torch.equal(one[tap], other[tap]) for tap in other)
        assert one.origin == other.origin
    assert offloaded.fingerprint == plain.fingerprint
    bare = offloaded.untrained()
    assert (bare.offload, bare.fingerprint) == (how, plain.untrained().fingerprint)
    maps = [shiftless.extract(one, PICTURE, recipes[0])["up1"] for one in (bare, plain.untrained(), offloaded)]
    assert torch.equal(maps[0], maps[1])
    assert torch.equal(maps[2], here[0]["up1"])


@cache
def expected(name: str) -> list[torch.Tensor]:
    return all_of(shiftless.load(f"twin:{name}", device="cpu", dtype="fp32"))


@pytest.mark.parametrize("how", ["parts", "layers"])
@pytest.mark.parametrize("of", FAMILIES)
def test_every_family_finds_its_weights_where_it_needs_them(of, how, monkeypatch):
    """On a CPU, where nothing moves: here the weights in main memory are not numbers, and their copies are."""
    name = next(name for name, row in models().items() if row["family"] == of)
    offloaded = shiftless.load(f"twin:{name}", device="cpu", dtype="fp32", offload=how)
    true = {}
    for network in offloaded.networks.values():
        weights = {id(one): one for one in network.state_dict(keep_vars=True).values()}  # tied ones once
        for value in filter(torch.is_floating_point, weights.values()):
            true[id(value)] = nn.Parameter(value.detach()) if isinstance(value, nn.Parameter) else value.detach()
            value.data = torch.full_like(value, torch.nan)
    monkeypatch.setattr(offload_module, "_moved", lambda home, _device: true.get(id(home), home))
    for ours, theirs in zip(all_of(offloaded), expected(name), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def all_of(model) -> list[torch.Tensor]:
    """A picture encoded, read at the last tap with all of its prediction, and decoded."""
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    prompt = "281" if model.spec.family == "dit" else "a horse" if model.spec.takes_text else ""
    latent, condition = model.encode_image(pixels), model.encode_prompt([prompt], size=(64, 64))
    reading = model.denoise(latent, 50, condition, model.taps[-1:], full=True)
    found = [latent, condition.embeds, *reading.maps.values(), reading.prediction, model.decode(latent)]
    return [one for one in found if one is not None]


@pytest.mark.parametrize("how", ["parts", "layers"])
def test_a_model_of_one_network_takes_it_too(how):
    plain, offloaded = (
        shiftless.load("twin:dino-s16", device="cpu", dtype="fp32", offload=one) for one in (False, how)
    )
    assert torch.equal(
        *(shiftless.extract(one, PICTURE, shiftless.Recipe(taps=("last",)))["last"] for one in (plain, offloaded))
    )
    assert plain.fingerprint == offloaded.fingerprint == offloaded.fingerprint
    assert offloaded.untrained().offload == how


def test_what_it_may_be():
    assert [choose_offload(one) for one in (False, True, "", "parts", "layers")] == ["", "parts", "", "parts", "layers"]
    with pytest.raises(shiftless.BadInput, match="offload='disk': must be parts or layers, or be left out"):
        shiftless.load("twin:sd15", offload="disk")
