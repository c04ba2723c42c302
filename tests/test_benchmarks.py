"""The speed benchmark compares like with like: the peers' ways and ours read the same features."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).parents[1] / "benchmarks" / "reading.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("reading_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def read(benchmark, tmp_path_factory):
    """Read the benchmark's picture by a way's name, each way once."""
    folder = tmp_path_factory.mktemp("model")
    benchmark.save_model("twin:sd15", folder)
    ways = {way.name: way for way in benchmark.WAYS}
    known: dict[str, dict[str, torch.Tensor]] = {}

    def by(name: str) -> dict[str, torch.Tensor]:
        if name not in known:
            known[name] = benchmark.prepare(ways[name], folder, 128)(benchmark.picture(128))
        return known[name]

    return by


@pytest.mark.parametrize("family", ["gdf", "gdf maps", "dift"])
def test_ours_reads_what_the_peers_read(benchmark, read, family):
    family, _, maps = family.partition(" ")
    theirs, ours, half = (read(f"{family} {who} {maps}".strip()) for who in ("theirs fp32", "ours fp32", "ours bf16"))
    assert ("up.cross.map.s16" in theirs) == bool(maps)
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}
    assert benchmark.likeness(ours, theirs) >= benchmark.ALIKE["fp32"]
    assert benchmark.likeness(half, theirs) >= benchmark.ALIKE["bf16"]


def test_other_noise_is_noticed(benchmark, read):
    import shiftless

    recipe = shiftless.Recipe(**benchmark.GDF, prompt=benchmark.PROMPT, latent="sample", seed=1, size=128)
    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    other = dict(shiftless.extract(model, benchmark.picture(128), recipe).maps)
    assert benchmark.likeness(other, read("gdf theirs fp32")) < benchmark.ALIKE["bf16"]


def test_likeness_is_of_the_worst_tap_and_needs_equal_taps(benchmark):
    a = {"x": torch.ones(1, 1, 1, 2), "y": torch.tensor([1.0, 0.0])}
    b = {"x": torch.ones(1, 1, 1, 2), "y": torch.tensor([0.0, 1.0])}
    assert benchmark.likeness(a, b) == pytest.approx(0)
    with pytest.raises(ValueError, match="different taps"):
        benchmark.likeness(a, {"x": a["x"]})


def test_a_target_is_met_only_if_fast_alike_and_no_larger(benchmark):
    ours, theirs, target = benchmark.TARGETS[0]
    exact = {"x": torch.tensor([1.0, 2.0])}

    def met(seconds: float = 1.0, peak: float = 1.0, features: dict[str, torch.Tensor] = exact) -> bool:
        rows = {
            theirs: {"family": "gdf", "dtype": "fp32", "maps": False, "seconds": target * 1.01, "peak_gb": 1.0},
            ours: {"family": "gdf", "dtype": "bf16", "maps": False, "seconds": seconds, "peak_gb": peak},
        }
        (row,) = benchmark.compare(rows, {theirs: exact, ours: features})
        return row["met"]

    assert met()
    assert not met(seconds=1.1)
    assert not met(peak=1.1)
    assert not met(features={"x": torch.tensor([1.0, 2.5])})
