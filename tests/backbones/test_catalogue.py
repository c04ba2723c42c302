"""Lists of models and taps agree with what loads and with what a loaded model has."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import shiftless
from miniworld.training.ddpm import new_ddpm, save_ddpm
from miniworld.training.mae import new_mae, save_mae
from shiftless import mini
from shiftless.backbones import catalogue
from shiftless.backbones.parameters import count
from shiftless.backbones.registry import models, not_for_photographs
from shiftless.mini import embedded, weights


def test_every_known_model_is_listed():
    assert shiftless.list_models() == [*embedded(), *models()]


def test_only_what_is_on_the_machine(monkeypatch):
    def find(name):
        if name in ("mini", "sd14"):
            return weights()
        raise shiftless.BadInput("not here")

    monkeypatch.setattr(catalogue, "find", find)
    assert shiftless.list_models(available=True) == ["mini", "sd14"]


@pytest.mark.parametrize("name", ["mini", "twin:sd21"])
def test_taps_are_those_of_the_loaded_model(name):
    listed, loaded = shiftless.list_taps(name), shiftless.load(name).taps
    assert listed == [tap for tap in loaded if tap.kind != "heads"]
    assert {tap.kind for tap in shiftless.list_taps(name, "up*.cross.map.heads")} == {"heads"}


def test_a_model_that_is_not_here_has_taps_and_mistakes_are_helped():
    assert [tap.channels for tap in shiftless.list_taps("sd15", "up1")] == [1280]
    with pytest.raises(shiftless.BadInput, match="nearest"):
        shiftless.list_taps("sd15", "upp1")
    with pytest.raises(shiftless.BadInput, match="no such model"):
        shiftless.list_taps("sd99")


def test_what_is_known_of_a_model_is_what_loads():
    info, loaded = shiftless.model_info("mini"), shiftless.load("mini")
    assert info.parameters == {part: count(network) for part, network in loaded.networks.items()}
    assert (info.family, info.size, info.made_for) == (loaded.spec.family, loaded.spec.size, loaded.spec.made_for)
    assert info.available
    assert info.fetch == ""


def test_an_embedded_baseline_is_known_where_its_weights_are(tmp_path, monkeypatch):
    names = ["mini-mae", "mini-ddpm"]
    monkeypatch.setattr(mini, "weights", lambda: tmp_path)
    assert not {*names} & {*embedded()}
    with pytest.raises(shiftless.BadInput, match="no such model"):
        shiftless.load("mini-mae")
    save_mae(tmp_path / "mae", new_mae())
    save_ddpm(tmp_path / "ddpm", new_ddpm(sample_size=128))
    assert shiftless.list_models(available=True)[:2] == names
    for name in names:
        info, loaded = shiftless.model_info(name), shiftless.load(name, device="cpu")
        assert info.parameters == {part: count(network) for part, network in loaded.networks.items()}
        assert (info.family, info.size, info.made_for) == (loaded.spec.family, loaded.spec.size, loaded.spec.made_for)
        assert (info.available, info.fetch) == (True, "")
        assert not_for_photographs(loaded)
    assert shiftless.extract("mini-mae", torch.rand(3, 128, 128))["last"].shape[-1] == 16


def test_memory_follows_from_the_parameters():
    info = shiftless.model_info("flux-dev")
    assert info.gated
    assert not shiftless.model_info("flux-schnell").gated  # though its row is like that of dev
    assert info.millions == pytest.approx(11901.4 + 83.8 + 123.1 + 4762.3)
    assert info.gigabytes() == pytest.approx(2 * info.millions / 1000)
    assert info.gigabytes(4) == 2 * info.gigabytes()


def test_a_name_that_is_not_known_is_helped():
    with pytest.raises(shiftless.BadInput, match="no known model; did you mean flux-dev"):
        shiftless.model_info("flux")
    with pytest.raises(shiftless.BadInput, match="`shiftless models` lists those"):
        shiftless.model_info("0")


def test_the_documented_sizes_and_licences_are_those_of_the_models():
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    infos = [shiftless.model_info(name) for name in models()]
    for family in dict.fromkeys(info.family for info in infos):
        own = [info for info in infos if info.family == family]
        licences = dict.fromkeys(f"{one.licence} (gated)" if one.gated else one.licence for one in own)
        sizes, memory = span([one.millions / 1000 for one in own]), span([one.gigabytes() for one in own])
        assert f"| `{family}` | {len(own)} | {sizes} | {memory} | {', '.join(licences)} |" in text


def span(values: list[float]) -> str:
    return " to ".join(dict.fromkeys(f"{end:.2f}" for end in (min(values), max(values))))
