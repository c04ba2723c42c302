"""The benchmark of parity with plain diffusers: its small cases are equal, and a difference is noticed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

FILE = Path(__file__).parents[1] / "benchmarks" / "parity.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("parity_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize("number", range(4))
def test_every_block_is_plain_diffusers(benchmark, number):
    case = benchmark.CASES[number]
    row = benchmark.compare(case, tiny=True)
    blocks = [*(f"down{i}" for i in range(4)), "mid", *(f"up{i}" for i in range(4))]
    assert list(row["blocks"]) == [*blocks, *(["clean"] if case.start is None else [])]
    assert row["worst"] < 1e-5 < benchmark.CASES[number].tolerance


def test_all_that_was_claimed_is_measured(benchmark):
    assert {(case.model, case.hw, case.start is not None) for case in benchmark.CASES} == {
        ("sd15", (512, 512), False),
        ("sd15", (512, 768), False),
        ("sd21", (768, 768), False),
        ("sd15", (512, 512), True),
    }


def test_a_difference_is_noticed_and_ends_in_1(benchmark, monkeypatch, tmp_path):
    import typer

    read = benchmark.ours

    def altered(model, image, case):
        maps = read(model, image, case)
        return maps | {"up2": maps["up2"] * 1.001}

    monkeypatch.setattr(benchmark, "ours", altered)
    app = typer.Typer()
    app.command()(benchmark.main)
    arguments = ["--tiny", "--only", "sd15 512 x 512", "--threads", "1", "--json", str(tmp_path / "rows.json")]
    completed = CliRunner().invoke(app, arguments)
    assert completed.exit_code == 1
    assert "different" in completed.output
    assert (tmp_path / "rows.json").is_file()
    assert CliRunner().invoke(app, ["--only", "sd99"]).exit_code == 2


def test_difference_is_a_share_of_the_largest_value(benchmark):
    assert benchmark.difference(torch.tensor([3.0, 9.0]), torch.tensor([4.0, -10.0])) == pytest.approx(1.9)
    with pytest.raises(ValueError, match="the shapes differ"):
        benchmark.difference(torch.ones(2), torch.ones(1, 2))
