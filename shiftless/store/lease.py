"""Lease: who may write to a store on S3, where there are no locks that end with their process.

An object says who holds it. Its holder puts it anew every few seconds; where that has ended, the holder is taken to
have been killed, and the next writer takes it over. A holder that was only halted, and goes on later, must not put
anything over what the next one has put by then: `Lease.put` looks at the object that is to be replaced, makes sure that
the lease was held then, and puts on the condition that the object is still the one that it looked at. What it has sent
may also come late: whoever takes a lease over first puts the store's root anew, so that the root that was sent before,
which would make the old holder's files visible while they are being replaced, is refused. Time is told by the server's
clock alone, which is in each of its answers: those of the writers need not agree, nor go on while halted.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import replace

from shiftless.errors import BadInput
from shiftless.store.conditional import Conflict, Objects, Seen

SECONDS = 30.0
"""Without a sign of its holder, after which a lease may be taken over."""
SIGN = 5.0
"""Seconds from one sign to the next."""
LOOK = 0.5
"""Seconds, about, from one look at a lease that another process holds to the next."""
_FREE = b"free"


class Lost(BadInput):
    """Another writer has taken a lease over, or has put an object that this one was to put."""


class Lease:
    """A lease that is held from `take` or `wait` until `release`.

    name  of what it is for, in messages
    """

    def __init__(self, objects: Objects, path: str, name: str) -> None:
        self._objects, self._path, self._name = objects, path, name
        self._holder = secrets.token_hex(8)
        self._mine = Seen(None)
        self._turn = threading.Lock()  # two signs at once would take one another's for that of another process
        self._ended = threading.Event()

    @classmethod
    def take(cls, objects: Objects, path: str, name: str, root: str = "") -> Lease | None:
        """Take the lease that an object stands for; None if another process holds it.

        root  an object, JSON, by which its holders make visible what they have put
        """
        there = objects.seen(path)
        if there.holder and there.age < SECONDS:
            return None
        lease = cls(objects, path, name)
        if not lease._taken(there.etag):
            return None
        if there.holder and root:
            try:
                lease._refuse_late(root)
            except BaseException:
                lease._ended.set()  # not released: whoever takes it over next must do this
                raise
        return lease

    @classmethod
    def wait(cls, objects: Objects, path: str, name: str, root: str = "") -> Lease:
        """Take a lease as soon as no other process holds it; as `take`."""
        while (lease := cls.take(objects, path, name, root)) is None:
            time.sleep(LOOK * (0.5 + random.random()))
        return lease

    def renew(self) -> None:
        """Make sure that the lease is held, and give a sign; raises Lost."""
        try:
            with self._turn:
                self._mine = self._objects.put(self._path, self._holder.encode(), self._mine.etag, self._holder)
        except Conflict:
            raise self._lost() from None

    def put(self, path: str, content: bytes) -> None:
        """Put an object that only the holder of the lease may put; raises Lost."""
        there = self._seen(path)
        try:
            self._objects.put(path, content, there.etag)
        except Conflict:
            raise self._lost() from None

    def delete(self, path: str) -> None:
        """Remove an object that only the holder of the lease may put; one that is gone is no error. Raises Lost."""
        there = self._seen(path)
        if there.etag is None:
            return
        try:
            self._objects.delete(path, there.etag)
        except Conflict:
            raise self._lost() from None

    def release(self) -> None:
        """Let the next process take the lease; one that was lost, or cannot be reached, is left as it is."""
        self._ended.set()
        with suppress(Exception), self._turn:
            self._objects.put(self._path, _FREE, self._mine.etag)

    def _seen(self, path: str) -> Seen:
        """Look at an object, and make sure that the lease was held when that was done; raises Lost."""
        there, sign = self._objects.seen(path), self._mine.now
        if there.now is None or sign is None or there.now - sign > SECONDS / 2:
            self.renew()
        return there

    def _refuse_late(self, root: str) -> None:
        """Put the root anew with a blank behind it, so that the one which the last holder may have sent is refused."""
        while (there := self._seen(root)).etag is not None:
            try:
                self._objects.put(root, self._objects.content(root) + b" ", there.etag)
                return
            except Conflict:  # it has come just now
                self.renew()

    def _taken(self, etag: str | None) -> bool:
        try:
            self._mine = self._objects.put(self._path, self._holder.encode(), etag, self._holder)
        except Conflict:
            self._mine = replace(self._objects.seen(self._path), now=None)
            if self._mine.holder != self._holder:  # else the answer to a first try was lost
                return False
        threading.Thread(target=self._signs, daemon=True, name="lease").start()
        return True

    def _signs(self) -> None:
        while not self._ended.wait(SIGN):
            try:
                self.renew()
            except Lost:
                return
            except Exception:  # out of reach for a while
                continue

    def _lost(self) -> Lost:
        return Lost(f"{self._name}: another run has written to it meanwhile; run the same command again, which goes on")
