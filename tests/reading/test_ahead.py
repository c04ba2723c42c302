"""Work ahead: results in order, never more of them than was said, and errors in their own place."""

from __future__ import annotations

import threading

import pytest

from shiftless.reading.ahead import Ahead


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_come_in_order_whichever_is_ready_first(threads):
    gates = [threading.Event() for _ in range(6)]
    gates[-1].set()

    def work(i):
        if threads == 3 and i % 3 < 2:  # of three that run at once, the last one ends first
            assert gates[i + 1].wait(10)
        gates[i].set()
        return i * i

    gates[2].set() if threads != 3 else None
    with Ahead(threads) as ahead:
        assert list(ahead.map(work, range(6), most=4)) == [0, 1, 4, 9, 16, 25]


def test_no_more_than_the_most_is_taken_beyond_what_was_asked_for():
    taken = []

    def items():
        for i in range(20):
            taken.append(i)
            yield i

    with Ahead(2) as ahead:
        results = ahead.map(lambda i: i, items(), most=3)
        assert taken == []
        for asked in range(1, 6):
            next(results)
            assert len(taken) == asked + 3
        results.close()
    assert len(taken) == 8


def test_an_error_is_raised_in_the_place_of_its_item():
    def work(i):
        if i == 2:
            raise ValueError("two")
        return i

    with Ahead(2) as ahead:
        results = ahead.map(work, range(5), most=4)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ValueError, match="two"):
            next(results)
