"""A run and its log: the same after an interruption."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.losslog import LossLog
from miniworld.training.stage import Stage
from shiftless.errors import BadInput
from shiftless.training.checkpoint import load_checkpoint, save_checkpoint


class Fit(torch.nn.Module):
    """A network that learns the mean of what it is shown."""

    def __init__(self, size=3):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(size, 1)

    def forward(self, x):
        error = (self.layer(x.to(self.layer.weight.dtype)).float() - x.mean()).square()
        return error.mean(), error.detach()


def train(out, *, images, size=3, stop=None, seed=0, resume=True, minutes=5.0):
    """Train a small network in steps of two pictures; `stop` is the step at which the run is killed."""
    stage = Stage(out, images=images, seed=seed, device="cpu", compile=False, resume=resume, checkpoint_minutes=minutes)
    with stage.begin("toy"):
        network = Fit(size)
        optimiser = Fp32MasterAdamW(network.parameters(), dtype=torch.bfloat16)
        run = stage.run(optimiser, 1e-2)

        def step(number, _):
            if number == stop:
                raise KeyboardInterrupt
            loss, errors = network(torch.randn(2, size, generator=torch.Generator().manual_seed(number)))
            return loss, 2, {"error": errors.mean(), "rare": float("nan") if number % 7 else 1.0}

        run.go(step)
    return optimiser


def lines(out):
    return [json.loads(line) for line in (out / "toy.log.jsonl").read_text().splitlines()]


def without_time(records):
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


def test_weights_moments_and_log_are_the_same_after_an_interruption(tmp_path):
    whole = train(tmp_path / "a", images=700)
    for stop in (130, 260):  # the checkpoint is older than the kill, and a line was written between
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "b", images=700, stop=stop, minutes=0)
        if stop == 130:
            saved = shutil.copytree(tmp_path / "b" / "toy.checkpoint", tmp_path / "early")
    shutil.rmtree(tmp_path / "b" / "toy.checkpoint")
    shutil.copytree(saved, tmp_path / "b" / "toy.checkpoint")
    resumed = train(tmp_path / "b", images=700)
    assert (resumed.steps, resumed.updates) == (350, 350)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor)
    assert [line["step"] for line in lines(tmp_path / "a")] == [100, 200, 300, 350]
    assert without_time(lines(tmp_path / "b")) == without_time(lines(tmp_path / "a"))


def test_lines_are_means_of_what_steps_reported(tmp_path):
    train(tmp_path, images=400)
    first, second = lines(tmp_path)
    assert (first["step"], first["images"], second["images"]) == (100, 200, 400)
    assert 0 < second["lr"] < first["lr"]
    assert first["rare"] == 1.0  # steps that did not report it do not count
    assert first["loss"] == pytest.approx(first["error"])
    assert 0 <= first["seconds"] <= second["seconds"]
    log = LossLog(tmp_path / "b.jsonl", every=2)
    for step, loss in enumerate([1.0, 5.0, float("inf"), 4.0], 1):
        log.step(step, {}, {"loss": loss})
    assert [json.loads(line)["loss"] for line in log.path.read_text().splitlines()] == [3.0, 4.0]


def test_a_longer_run_goes_on_and_a_finished_one_writes_nothing(tmp_path):
    train(tmp_path, images=250)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    train(tmp_path, images=250)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    train(tmp_path, images=400)
    assert [line["step"] for line in lines(tmp_path)] == [100, 125, 200]
    train(tmp_path, images=50, resume=False)
    assert [line["step"] for line in lines(tmp_path)] == [25]


def test_a_line_that_was_cut_off_is_removed(tmp_path):
    train(tmp_path, images=250)
    with (tmp_path / "toy.log.jsonl").open("a") as file:
        file.write('{"step": 1')
    train(tmp_path, images=400)
    assert [line["step"] for line in lines(tmp_path)] == [100, 125, 200]


def test_a_checkpoint_of_something_else_is_refused_in_one_line(tmp_path):
    train(tmp_path, images=20)
    with pytest.raises(BadInput, match=r"toy\.checkpoint: a checkpoint of another network; give --restart"):
        train(tmp_path, images=40, size=4)
    with pytest.raises(BadInput, match="a run of seed 0; give --seed 0 to go on, or --restart"):
        train(tmp_path, images=40, seed=1)
    tensors, _ = load_checkpoint(tmp_path / "toy.checkpoint")
    save_checkpoint(tmp_path / "toy.checkpoint", tensors, {"steps": "many"})
    with pytest.raises(BadInput, match="not a checkpoint of this program"):
        train(tmp_path, images=40)


def test_a_step_without_finite_gradients_changes_nothing(tmp_path):
    layer = torch.nn.Linear(2, 1)
    optimiser = Fp32MasterAdamW(layer.parameters(), dtype=torch.float32)
    before = optimiser.master[0].clone()
    (layer(torch.ones(1, 2)).sum() * float("inf")).backward()
    optimiser.step(0.1)
    assert torch.equal(optimiser.master[0], before)
    assert (optimiser.steps, optimiser.updates) == (1, 0)
    again = Fp32MasterAdamW(torch.nn.Linear(2, 1).parameters(), dtype=torch.float32)
    again.load_state_dict(optimiser.state_dict(), 1, 0)
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step(0.1)
    assert (optimiser.steps, optimiser.updates) == (2, 1)
