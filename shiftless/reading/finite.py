"""Values that are not finite: one warning where features hold any."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator

from shiftless.features import Bucket
from shiftless.header import all_finite


class NotFiniteWarning(RuntimeWarning):
    """Some features hold NaN or infinite values."""


def warned(buckets: Iterable[Bucket]) -> Iterator[Bucket]:
    """Pass buckets on, and warn of the first one that holds values which are not finite.

    >>> list(warned([]))
    []
    """
    already = False
    for bucket in buckets:
        if not already and (taps := not_finite(bucket)):
            already = True
            warnings.warn(
                f"{bucket[0].name}: values that are not finite in {', '.join(taps)}, and perhaps in later photos; "
                "read in fp32, and check the model and its adapters",
                NotFiniteWarning,
                stacklevel=2,
            )
        yield bucket


def not_finite(bucket: Bucket) -> list[str]:
    """Return the taps of a bucket whose maps hold values that are not finite, each once.

    >>> not_finite(Bucket(()))
    []
    """
    named = [(tap, value) for maps in bucket for tap, value in maps.items()]
    return list(dict.fromkeys(tap for tap, value in named if not all_finite(value)))
