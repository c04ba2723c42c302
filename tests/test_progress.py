"""Long commands say what they will do and how long it takes, on a terminal and piped."""

from __future__ import annotations

import io
import sys

import pytest

from shiftless import progress
from shiftless.progress import Progress, notice, set_verbosity, track


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(autouse=True)
def normal():
    set_verbosity(progress.NORMAL)
    yield
    set_verbosity(progress.NORMAL)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_piped_command_says_the_work_first_then_the_time_then_how_far_it_is(capsys, clock):
    with Progress("auditing 8 photos", 412, "denoiser call", clock=clock) as step:
        assert capsys.readouterr().err == "auditing 8 photos: 412 denoiser calls\n"
        clock.now += 10.5
        step.advance(4)  # 2.625 s a call: 408 calls take 1071 s, 18 minutes
        message = capsys.readouterr().err
        assert message == "auditing 8 photos: about 18 min left (4 denoiser calls took 10 s)\n"
        for _ in range(12):
            clock.now += 10
            step.advance(4)
        assert capsys.readouterr().err.splitlines() == [
            "auditing 8 photos: 4% of 412 denoiser calls, 17 min left",
            "auditing 8 photos: 7% of 412 denoiser calls, 16 min left",
            "auditing 8 photos: 10% of 412 denoiser calls, 16 min left",
            "auditing 8 photos: 13% of 412 denoiser calls, 15 min left",
        ]
        clock.now += 900
        step.to(412)
        capsys.readouterr()
    assert capsys.readouterr().err == "auditing 8 photos: done in 17 min\n"


def test_what_is_short_says_no_time(capsys, clock):
    with Progress("reading 3 photos", 3, clock=clock) as step:
        for _ in range(3):
            clock.now += 2
            step.advance()
    assert capsys.readouterr().err == "reading 3 photos\n"


def test_what_was_done_before_says_nothing_about_the_time(clock):
    with Progress("reading 1,000 photos", 1000, clock=clock) as step:
        step.skip(900)
        clock.now += 5
        step.advance(10)
        assert step.left == 45  # 90 photos at half a second each


def test_the_time_needs_a_total(capsys, clock):
    with Progress("drawing", unit="picture", clock=clock) as step:
        clock.now += 100
        step.advance(7, "loss 0.5")
        assert step.left is None
    assert capsys.readouterr().err == "drawing\ndrawing: 7 pictures, loss 0.5\n"


def test_a_quiet_command_says_nothing(capsys, clock):
    set_verbosity(progress.QUIET)
    with Progress("reading 8 photos", 8, clock=clock) as step:
        clock.now += 100
        step.advance()
        notice("a line")
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_one_bar_for_work_inside_work(monkeypatch, clock):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with Progress("outer work", 2, "step", clock=clock) as outer:
        for _ in range(2):
            with Progress("inner work", 4, "step", clock=clock) as inner:
                assert inner._bar is outer._bar  # rich refuses a second live display
                clock.now += 9
                inner.advance(2)
            outer.advance()
        assert [task.description for task in outer._bar.tasks] == ["outer work"]
        assert outer._bar.tasks[0].completed == 2
    assert progress._bars == []
    assert "about 9 s left" in screen.getvalue()


def test_tracking_counts_an_item_when_the_next_is_asked_for(clock):
    recorded = []
    steps = track(seen_by(recorded), "reading", 3)
    assert next(steps) == 0
    assert recorded == [0]
    assert list(steps) == [1, 2]


def seen_by(recorded: list[int]):
    for i in range(3):
        recorded.append(i)
        yield i


def test_a_share_of_the_work_has_no_unit_and_what_an_earlier_run_did_says_nothing_of_the_pace(capsys, clock):
    with Progress("training", 1.0, "", clock=clock) as step:
        clock.now += 50  # preparations
        step.resume(0.5)
        clock.now += 10
        step.to(0.6, "loss 1")
        assert step.left == pytest.approx(40)
        clock.now += 35
        step.to(0.95, "loss 2")
    assert capsys.readouterr().err.splitlines() == [
        "training",
        "training: about 40 s left (10.0% took 10 s)",
        "training: 95%, 5 s left, loss 2",
        "training: done in 2 min",
    ]
