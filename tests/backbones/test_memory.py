"""kept_memory: never more page faults inside than outside, and memory goes back to the kernel afterwards.

Each measurement has a process of its own: what other tests left in the heap must not decide it.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import shiftless
from shiftless.backbones import memory
from shiftless.backbones.memory import kept_memory
from shiftless.cli import main

glibc = pytest.mark.skipif(memory._glibc() is None, reason="no glibc here, or its malloc is already tuned")

MEASURE = """
import resource
from pathlib import Path

import torch

from shiftless.backbones.memory import kept_memory, own_process

own_process()
CPU, SIDE = torch.device("cpu"), 4000  # 4000 x 4000 floats: 64 MB, above what glibc ever keeps by itself
PAGE = resource.getpagesize()
PAGES = SIDE * SIDE * 4 // PAGE


def faults_of_a_second_round():
    torch.ones(SIDE, SIDE)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(SIDE, SIDE)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])
"""
NEVER_WORSE = """
outside = faults_of_a_second_round()
assert outside > PAGES / 2
with kept_memory(CPU):
    with kept_memory(CPU):  # two readers at once, say
        pass
    assert faults_of_a_second_round() < outside * 1.1
assert faults_of_a_second_round() > PAGES / 2
"""
GIVEN_BACK = """
before = resident()
try:
    with kept_memory(CPU):
        torch.ones(SIDE, SIDE)
        assert resident() > before + PAGES * 3 / 4
        raise KeyError
except KeyError:
    pass
assert resident() < before + PAGES / 4
"""


@glibc
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("what", [NEVER_WORSE, GIVEN_BACK], ids=["never worse", "given back"])
def test_in_a_process_of_its_own(what):
    done = subprocess.run([sys.executable, "-c", MEASURE + what], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_process_of_a_program_that_uses_the_library_is_left_alone(monkeypatch):
    """mallopt cannot be undone: only the command line says that the process is its own."""
    monkeypatch.setattr(memory, "_owned", False)
    monkeypatch.setattr(memory, "_glibc", lambda: pytest.fail("asked for the C library"))
    with kept_memory(torch.device("cpu")):
        pass
    shiftless.extract(shiftless.load("twin:sd15", device="cpu", size=64), np.zeros((64, 64, 3), np.uint8))


def test_the_command_line_owns_its_process(monkeypatch):
    monkeypatch.setattr(memory, "_owned", False)
    monkeypatch.setattr("shiftless.progress.set_verbosity", lambda _: None)
    monkeypatch.setattr("sys.argv", ["shiftless", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert memory._owned


def test_other_devices_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory, "_owned", True)
    monkeypatch.setattr(memory, "_glibc", lambda: pytest.fail("asked for the C library"))
    with kept_memory(torch.device("meta")):
        pass
