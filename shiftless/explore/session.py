"""Sessions: what belongs to one browser tab, so that two of them never mix up."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from shiftless.errors import BadInput
from shiftless.explore.labels import LabelAnswer, Packed
from shiftless.explore.shifts import ShiftAnswer


@dataclass
class Session:
    """One tab's masks: those it imported, and the answer of its last fit; and its last audit."""

    bases: Mapping[int, Packed] = field(default_factory=dict)
    answer: LabelAnswer | None = None
    shift: ShiftAnswer | None = None

    def answered(self) -> LabelAnswer:
        """Return the last fit's answer; raises BadInput if there is none."""
        if self.answer is None:
            raise BadInput("nothing is fitted yet, or it was so long ago that it was forgotten; press Fit")
        return self.answer

    def audited(self) -> ShiftAnswer:
        """Return the last audit; raises BadInput if there is none."""
        if self.shift is None:
            raise BadInput("nothing is measured yet, or it was so long ago that it was forgotten; press Measure")
        return self.shift


class Sessions:
    """Sessions by the names that the tabs gave themselves; the one that was idle longest is forgotten first.

    >>> sessions = Sessions(1)
    >>> first = sessions.of("a")
    >>> sessions.of("a") is first, sessions.of("b") is first, sessions.of("a") is first
    (True, False, False)
    """

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def of(self, client: str) -> Session:
        """Return a tab's session, a new one if it has none."""
        with self._lock:
            session = self._sessions.setdefault(client, Session())
            self._sessions.move_to_end(client)
            while len(self._sessions) > self._most:
                self._sessions.popitem(last=False)
            return session
