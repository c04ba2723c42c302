"""Writing behind the model: in order, one thread, and no error is lost."""

from __future__ import annotations

import threading

import pytest

from shiftless.errors import BadInput
from shiftless.store.behind import Behind


class Slow:
    """A target that writes when it may, and notes which thread did."""

    def __init__(self, fails=()):
        self.written, self.threads, self.fails = [], set(), fails
        self.may = threading.Semaphore(0)

    def write(self, bucket):
        assert self.may.acquire(timeout=10)
        self.threads.add(threading.current_thread())
        if bucket in self.fails:
            raise BadInput(f"{bucket}: no space")
        self.written.append(bucket)


def give(behind, buckets, error=None):
    with behind:
        for one in buckets:
            behind.write(one)
        if error is not None:
            raise error


def test_all_is_written_in_order_by_one_other_thread():
    target = Slow()
    with Behind(target, 2) as behind:
        behind.write("a")
        behind.write("b")
        assert target.written == []
        target.may.release(5)
        for one in "cde":
            behind.write(one)
    assert target.written == list("abcde")
    assert len(target.threads) == 1
    assert threading.current_thread() not in target.threads


def test_an_error_is_raised_and_nothing_is_written_after_it():
    target = Slow(fails=("b",))
    target.may.release(9)
    with pytest.raises(BadInput, match="b: no space"):
        give(Behind(target, 4), "abcdefgh")
    assert target.written == ["a"]


def test_what_was_given_is_written_where_the_block_fails():
    target = Slow()
    target.may.release(2)
    with pytest.raises(KeyboardInterrupt):
        give(Behind(target, 4), "ab", KeyboardInterrupt())
    assert target.written == ["a", "b"]


def test_a_second_interrupt_leaves_out_what_waits(monkeypatch):
    target = Slow()
    behind = Behind(target, 4)
    join = behind._thread.join
    interrupts = [KeyboardInterrupt()]

    def interrupted():
        if interrupts:
            target.may.release(1)
            raise interrupts.pop()
        join()

    monkeypatch.setattr(behind._thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        give(behind, "abc")
    assert target.written in ([], ["a"])
    assert not behind._thread.is_alive()


def test_without_a_thread_it_is_written_at_once():
    target = Slow()
    target.may.release(1)
    with Behind(target, 0) as behind:
        behind.write("a")
        assert target.written == ["a"]
    assert target.threads == {threading.current_thread()}
