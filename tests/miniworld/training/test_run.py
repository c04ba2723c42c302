"""A run's checkpoints and its log: whole, small, read back to the bit, and the same after an interruption."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from miniworld.training.checkpoint import INDEX, SHARD_BYTES, load_checkpoint, save_checkpoint
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.losslog import LossLog
from miniworld.training.stage import Stage
from shiftless.errors import BadInput


def some_tensors(seed=0):
    generator = torch.Generator().manual_seed(seed)
    wide = torch.randn(5, 8, 3, 3, generator=generator).to(memory_format=torch.channels_last)
    return {"a": wide, "b": torch.randn(7, generator=generator), "c": torch.tensor(2.5), "d": torch.zeros(0, 3)}


def shards(folder):
    return sorted(folder.glob("*.safetensors"))


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


@pytest.mark.parametrize("limit", [40, 100, SHARD_BYTES])
def test_what_is_read_is_what_was_written_to_the_bit(tmp_path, limit):
    tensors, numbers = some_tensors(), {"steps": 3, "seconds": 0.1 + 0.2, "window": {"loss": [1 / 3, 2]}}
    save_checkpoint(tmp_path, tensors, numbers, shard_bytes=limit)
    again, found = load_checkpoint(tmp_path)
    assert found == numbers
    assert tensors.keys() - {"d"} == again.keys() - {"d"}
    assert all(torch.equal(again[name], tensors[name]) for name in again)
    sizes = [sum(t.nbytes for t in load_file(path).values()) for path in shards(tmp_path)]
    assert max(sizes) <= limit
    assert len(sizes) == {40: 37, 100: 15, SHARD_BYTES: 1}[limit]


def test_shards_are_small_enough_to_move(tmp_path):
    assert SHARD_BYTES < 15e6 - 200_000  # the header of a shard has about a hundred bytes a tensor
    save_checkpoint(tmp_path, {"a": torch.rand(2000, 2000), "b": torch.rand(2500, 1000)}, {})
    assert len(shards(tmp_path)) == 2
    assert all(path.stat().st_size < 15e6 for path in shards(tmp_path))


def test_a_run_that_is_killed_while_it_saves_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, some_tensors(0), {"steps": 1}, shard_bytes=100)
    from miniworld.training import checkpoint

    write, count = checkpoint.write_atomic, len(shards(tmp_path))
    for allowed in range(count + 1):  # shards are written, then the index
        left = [allowed]

        def killed(path, content, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return write(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "write_atomic", killed)
            with pytest.raises(KeyboardInterrupt):
                save_checkpoint(tmp_path, some_tensors(1), {"steps": 2}, shard_bytes=100)
        tensors, numbers = load_checkpoint(tmp_path)
        assert numbers == {"steps": 1}
        assert torch.equal(tensors["a"], some_tensors(0)["a"])
    save_checkpoint(tmp_path, some_tensors(1), {"steps": 2}, shard_bytes=100)
    assert torch.equal(load_checkpoint(tmp_path)[0]["a"], some_tensors(1)["a"])
    assert len(shards(tmp_path)) == count  # what no checkpoint names is gone


@pytest.mark.parametrize("harm", ["missing", "cut", "changed", "other"])
def test_a_shard_that_is_missing_or_changed_is_named_in_one_line(tmp_path, harm):
    folder = tmp_path / "x.checkpoint"
    save_checkpoint(folder, some_tensors(), {}, shard_bytes=400)
    victim, other = shards(folder)[:2]
    if harm == "missing":
        victim.unlink()
    elif harm == "cut":
        victim.write_bytes(victim.read_bytes()[:-1])
    elif harm == "changed":
        content = bytearray(victim.read_bytes())
        content[-1] ^= 1
        victim.write_bytes(content)
    else:
        shutil.copy(other, victim)
    with pytest.raises(BadInput, match=victim.name) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)
    assert "copy the folder again" in str(caught.value)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"numbers": 3}', '{"numbers": {}, "shards": 1, "shapes": {}}'])
def test_an_index_that_is_missing_or_none_is_refused_in_one_line(tmp_path, text):
    assert load_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, some_tensors(), {})
    if text is None:
        (tmp_path / INDEX).unlink()
    else:
        (tmp_path / INDEX).write_text(text)
    with pytest.raises(BadInput, match=INDEX) as caught:
        load_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


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
