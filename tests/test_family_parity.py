"""The benchmark of every family's parity: it measures all families, and a failed comparison is seen."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from shiftless.backbones.families import FAMILIES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("family_parity_benchmark", ROOT / "benchmarks" / "family_parity.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def command(benchmark):
    app = typer.Typer()
    app.command()(benchmark.main)
    return lambda *arguments: CliRunner().invoke(app, [str(one) for one in arguments])


def test_every_family_is_compared(benchmark):
    assert set(benchmark.TESTS) == set(FAMILIES)
    for file in benchmark.TESTS.values():
        text = file.read_text(encoding="utf-8")
        assert "of_plain_diffusers(" in text or "of_plain_transformers(" in text, file


def test_differences_are_the_largest_of_all_pairs(benchmark):
    seen = benchmark.Differences()
    seen.add(torch.tensor([1.0, 4.5]), torch.tensor([1.0, 4.0]))
    seen.add(torch.tensor([0.25]), torch.tensor([0.5]))
    seen.add(torch.tensor([1, 2]), torch.tensor([1, 3]))  # whole numbers are no features
    assert (seen.tensors, seen.absolute, seen.relative) == (2, 0.5, 0.5)


def test_failed_comparisons_end_in_1(benchmark, command, monkeypatch, tmp_path):
    broken = tmp_path / "test_broken.py"
    broken.write_text(
        "import torch\n\n\ndef test_features_are_those_of_plain_diffusers():\n"
        "    torch.testing.assert_close(torch.tensor([1.0]), torch.tensor([1.5]))\n",
        encoding="utf-8",
    )
    monkeypatch.setitem(benchmark.TESTS, "sd", broken)
    completed = command("sd", "--json", tmp_path / "rows.json")
    assert completed.exit_code == 1
    assert "different" in completed.output
    assert '"absolute": 0.5' in (tmp_path / "rows.json").read_text(encoding="utf-8")
    assert command("nothing").exit_code == 2
