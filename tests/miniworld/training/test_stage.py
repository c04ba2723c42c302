"""What all stages of training share: the device, batches made ahead, and what is the same on every machine."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from miniworld.training.batches import Batches
from miniworld.training.compiled import compiled
from miniworld.training.stage import Stage, training_dtype
from shiftless.errors import BadInput

CPU = torch.device("cpu")


def numbered(step: int) -> tuple[torch.Tensor, ...]:
    return (torch.tensor([step]), torch.randn(2, generator=torch.Generator().manual_seed(step)))


def test_batches_made_ahead_are_those_made_one_by_one():
    made = []

    def make(step):
        made.append(step)
        time.sleep(0.002 * (step % 3))
        return numbered(step)

    ahead = Batches(make, CPU, ahead=3)
    for step in (*range(5, 25), 40, 41, 3):  # on, and begun anew elsewhere
        for ours, theirs in zip(ahead(step), numbered(step), strict=True):
            assert torch.equal(ours, theirs)
    assert made[:20] == list(range(5, 25))


def test_batches_wait_for_the_device_and_not_it_for_them():
    ready, threads = threading.Event(), set()

    def make(step):
        threads.add(threading.get_ident())
        if step == 3:
            ready.set()
        return numbered(step)

    ahead = Batches(make, CPU, ahead=3)
    ahead(0)
    assert ready.wait(10)  # made while nobody asks for it
    assert threads.isdisjoint({threading.get_ident()})


def test_a_batch_that_cannot_be_made_ends_the_run():
    def make(step):
        if step == 2:
            raise OSError("disk gone")
        return numbered(step)

    ahead = Batches(make, CPU, ahead=2)
    ahead(0), ahead(1)
    with pytest.raises(OSError, match="disk gone"):
        ahead(2)


def test_training_never_computes_in_half_precision(monkeypatch):
    monkeypatch.setattr("miniworld.training.stage.choose_dtype", lambda *_: torch.float16)
    assert training_dtype(torch.device("cuda")) == torch.float32
    monkeypatch.setattr("miniworld.training.stage.choose_dtype", lambda *_: torch.bfloat16)
    assert training_dtype(torch.device("cuda")) == torch.bfloat16


def test_a_device_that_is_not_there_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadInput, match="this machine or this build of torch has none") as caught:
        Stage(tmp_path, images=1, device="cuda")
    assert "\n" not in str(caught.value)


def test_a_network_that_no_compiler_takes_is_trained_uncompiled(monkeypatch):
    def refuse(*_):
        raise RuntimeError("no compiler here\nand more")

    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def forward(self, x):
            return self.layer(x).sum(), x.sum()

    network, said = Loss(), []
    monkeypatch.setattr(torch, "compile", lambda *_, **__: refuse)
    assert compiled(network, [(torch.ones(1, 2),)], said.append) is network
    assert said == ["cannot be compiled (no compiler here); going on uncompiled"]


def test_a_compiled_gradient_is_believed_where_the_plain_one_is_inexact(monkeypatch):
    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def forward(self, x, sloppy=None):
            sloppy = x.dtype == torch.bfloat16 if sloppy is None else sloppy
            bias = self.layer.bias - (0.5 * (self.layer.bias - self.layer.bias.detach()) if sloppy else 0)
            y = x @ self.layer.weight.T + bias
            return y.float().sum(), y.detach().float().sum()

    network, said, example = Loss().bfloat16(), [], (torch.ones(1, 2, dtype=torch.bfloat16),)
    monkeypatch.setattr(torch, "compile", lambda network, **_: lambda x: network(x, sloppy=False))
    assert compiled(network, [example], said.append) is not network
    assert said == []
    monkeypatch.setattr(torch, "compile", lambda network, **_: lambda x: (0 * network(x)[0], x))
    assert compiled(network, [example], said.append) is network
    assert "layer.weight" in said[0]
