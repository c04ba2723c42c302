"""The model's worker: turns, lanes, cancelling, and errors that reach the one who asked."""

from __future__ import annotations

import threading

import pytest

from shiftless.errors import BadInput
from shiftless.explore.worker import Stale, Step, Worker


@pytest.fixture
def held():
    """A worker that is busy until `go` is set, and the order in which pieces of other jobs are run."""
    worker, go, order = Worker(waiting=4), threading.Event(), []

    def busy(job):
        go.wait(20)
        yield Step(1, 1)

    worker.submit("busy", "match", busy)

    def pieces(name, n=2):
        def work(job):
            for i in range(n):
                order.append(f"{name}{i}")
                yield Step(i + 1, n)
            return name

        return work

    yield worker, go, order, pieces
    go.set()
    worker.close()


def test_clients_take_turns_piece_by_piece(held):
    worker, go, order, pieces = held
    jobs = [worker.submit("a", "read", pieces("a", 3)), worker.submit("b", "match", pieces("b", 2))]
    go.set()
    assert [job.future.result(20) for job in jobs] == ["a", "b"]
    assert order == ["a0", "b0", "a1", "b1", "a2"]


def test_a_click_goes_before_what_the_same_client_reads_ahead(held):
    worker, go, order, pieces = held
    jobs = [worker.submit("a", "read", pieces("r")), worker.submit("a", "match", pieces("m"))]
    go.set()
    assert [job.future.result(20) for job in jobs] == ["r", "m"]
    assert order == ["m0", "m1", "r0", "r1"]


def test_a_newer_job_of_a_lane_cancels_the_older_ones_of_that_client_alone(held):
    worker, go, order, pieces = held
    old, new = worker.submit("a", "match", pieces("old")), worker.submit("a", "match", pieces("new"))
    other, lane = worker.submit("b", "match", pieces("b")), worker.submit("a", "look", pieces("l"))
    go.set()
    with pytest.raises(Stale):
        old.future.result(20)
    assert [job.future.result(20) for job in (new, other, lane)] == ["new", "b", "l"]
    assert "old0" not in order


def test_the_newer_of_two_requests_is_kept_in_whatever_order_they_arrive(held):
    worker, go, order, pieces = held
    new, old = worker.submit("a", "match", pieces("new"), 2), worker.submit("a", "match", pieces("old"), 1)
    lane = worker.submit("a", "look", pieces("l"), 1)
    worker.cancel("a", "match", 1)  # an old request that needs no job leaves the newer one alone
    go.set()
    with pytest.raises(Stale):
        old.future.result(20)
    assert [job.future.result(20) for job in (new, lane)] == ["new", "l"]
    assert "old0" not in order


def test_a_running_job_ends_at_its_next_check():
    worker, entered, go = Worker(), threading.Event(), threading.Event()

    def work(job):
        entered.set()
        go.wait(20)
        job.check()
        yield Step(1, 1)

    job = worker.submit("a", "match", work)
    assert entered.wait(20)
    worker.cancel("a", "match", 0)
    go.set()
    with pytest.raises(Stale):
        job.future.result(20)
    worker.close()


def test_errors_reach_the_one_who_asked_and_the_worker_goes_on(held):
    worker, go, _, pieces = held

    def broken(job):
        yield Step(1, 2)
        raise BadInput("a.jpg: broken")

    job, good = worker.submit("a", "match", broken), worker.submit("b", "match", pieces("b"))
    go.set()
    with pytest.raises(BadInput, match="broken"):
        job.future.result(20)
    assert good.future.result(20) == "b"


def test_one_client_cannot_fill_the_queue(held):
    worker, _, _, pieces = held
    for _ in range(4):
        worker.submit("a", "match", pieces("x"))
    with pytest.raises(BadInput, match="wait already"):
        worker.submit("a", "match", pieces("x"))
    worker.submit("b", "match", pieces("y"))


def test_a_closed_worker_takes_nothing():
    worker = Worker()
    worker.close()
    with pytest.raises(BadInput, match="stopped"):
        worker.submit("a", "match", lambda job: iter(()))
