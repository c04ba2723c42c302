"""The one exception that users are meant to see."""

from __future__ import annotations


class BadInput(ValueError):
    """Something the caller gave cannot be used; the message says what, why and what to do, in one line.

    The command line prints it as it is and leaves with exit code 2.

    >>> raise BadInput("cat.jpg: the file is empty; give a picture file")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: cat.jpg: the file is empty; give a picture file
    """
