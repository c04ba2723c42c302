"""A short version of the robustness campaign: hostile input is refused in one line, and a stopped command goes on."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the benchmarks are no part of the package

from benchmarks.robustness.campaign import GROUPS, render, run_group  # noqa: E402
from benchmarks.robustness.mutation import mutated_bytes, mutated_json, mutated_safetensors  # noqa: E402
from benchmarks.robustness.outcome import Outcome, check  # noqa: E402
from benchmarks.robustness.processes import run_scene  # noqa: E402
from shiftless.errors import BadInput  # noqa: E402
from tests.forked import Forked  # noqa: E402

SHORT = {"LoRAs": 8, "model folders": 12, "ControlNets": 8, "captioners": 8}


@pytest.mark.parametrize("name", GROUPS)
def test_hostile_input_is_refused_or_harmless(name):
    outcome = run_group(name, seed=0, count=SHORT.get(name, 60))
    assert not outcome.failures
    assert outcome.tried == outcome.done + outcome.refused
    assert outcome.done, "every case was refused: nothing shows that what is read is right"
    assert outcome.refused, "nothing was refused: these cases are not hostile"


@pytest.fixture
def forked(monkeypatch):
    """Commands are forked from a process that has imported what they need, where that is safe."""
    if sys.platform.startswith("linux"):
        Forked(["--version"]).communicate()  # starts that process, so that no command's time has it in it
        monkeypatch.setattr("benchmarks.robustness.processes.start", lambda arguments, limit=None: Forked(arguments))


@pytest.mark.usefixtures("forked")
def test_a_killed_reading_goes_on_where_it_stopped():
    outcome = run_scene("kills", seed=2, quick=True, commands=["extract"])
    assert not outcome.failures
    assert outcome.done == 2  # once undisturbed, once killed and continued


@pytest.mark.usefixtures("forked")
def test_devices_are_written_through():
    outcome = run_scene("devices", seed=0, quick=True)
    assert not outcome.failures
    assert (outcome.done, outcome.refused) == (1, 1)


# ---- the campaign itself: it finds what it is meant to find


def test_every_kind_of_outcome_is_told_from_the_others():
    outcome = Outcome("made up")

    def raises(error: BaseException) -> None:
        raise error

    outcome.attempt("fine", lambda: None)
    outcome.attempt("refused", lambda: raises(BadInput("a.png: no picture")))
    outcome.attempt("a traceback", lambda: raises(KeyError("a")))
    outcome.attempt("a wrong result", lambda: check(False, "not finite"))
    outcome.attempt("endless", lambda: signal.pause(), seconds=0.1)
    assert (outcome.tried, outcome.done, outcome.refused) == (5, 1, 1)
    kinds = [line.split(": ")[1] for line in outcome.failures]
    assert kinds == ["KeyError", "WrongResult", "TooSlow"]
    assert "total" in render([outcome])
    with pytest.raises(KeyboardInterrupt):
        outcome.attempt("Ctrl-C", lambda: raises(KeyboardInterrupt()))


def test_cases_come_from_the_seed():
    data = bytes(range(256)) * 8
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(4)
    for mutate, whole in ((mutated_bytes, data), (mutated_json, {"a": [1, 2]}), (mutated_safetensors, weights)):
        first, again, other = ([repr(mutate(whole, rng)) for _ in range(30)] for rng in map(random.Random, (1, 1, 2)))
        assert first == again != other
        assert len(set(first)) > 10


def test_a_crash_of_the_process_is_a_failed_case_and_not_the_end(monkeypatch):
    from benchmarks.robustness import __main__ as command

    completed = []

    def crash_once(arguments, **_):
        completed.append(arguments)
        result = Path(arguments[arguments.index("--json") + 1])
        first, count = (int(arguments[arguments.index(flag) + 1]) for flag in ("--first", "--count"))
        if first == 0:
            result.with_suffix(".mark").write_text("3 a bad case")
            return subprocess.CompletedProcess(arguments, -signal.SIGSEGV, stderr="")
        result.write_text(json.dumps([Outcome("taps", count, count).to_dict()]))
        return subprocess.CompletedProcess(arguments, 0, stderr="")

    monkeypatch.setattr(command.subprocess, "run", crash_once)
    outcome = command.apart("taps", seed=0, count=10)
    assert (outcome.tried, outcome.done) == (10, 9)
    assert outcome.failures == ["[3] a bad case: the process died (SIGSEGV) "]
