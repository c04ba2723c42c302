"""kept_memory: large tensors reuse memory inside, and the process gives it back afterwards."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest
import torch

from shiftless.backbones import memory
from shiftless.backbones.memory import kept_memory

CPU = torch.device("cpu")
SIDE = 4000  # 4000 x 4000 floats: 64 MB, above what glibc ever keeps by itself

glibc = pytest.mark.skipif(memory._glibc() is None, reason="no glibc here, or its malloc is already tuned")


def faults_of_a_second_round() -> int:
    torch.ones(SIDE, SIDE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(SIDE, SIDE)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@glibc
def test_memory_is_reused_inside_and_only_there():
    pages = SIDE * SIDE * 4 // resource.getpagesize()
    assert faults_of_a_second_round() > pages / 2
    with kept_memory(CPU):
        with kept_memory(CPU):  # two readers at once, say
            pass
        assert faults_of_a_second_round() < pages / 10
    assert faults_of_a_second_round() > pages / 2


@glibc
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_given_back_even_after_an_error():
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    def read_and_fail() -> None:
        with kept_memory(CPU):
            torch.ones(SIDE, SIDE)
            assert resident() > before + SIDE * SIDE * 3
            raise KeyError

    before = resident()
    with pytest.raises(KeyError):
        read_and_fail()
    assert resident() < before + SIDE * SIDE


def test_other_devices_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory, "_glibc", lambda: pytest.fail("asked for the C library"))
    with kept_memory(torch.device("meta")):
        pass
