"""The one exception that users are meant to see, and what to quote of others in it."""

from __future__ import annotations

import re

_MISFIT = re.compile(r"(\S+) expected shape torch\.Size\((.*?)\), but got torch\.Size\((.*?)\)")
MOST = 1000  # characters of a message; what it quotes may come from a hostile file


class BadInput(ValueError):
    """Input from the caller cannot be used; the message names it, the fault and the remedy in one line.

    The command line prints it as it is and leaves with exit code 2. A message of more than 1,000 characters loses its
    middle, and characters that do not print (line ends, control codes of terminals) are written as escapes.

    >>> raise BadInput("cat.jpg: the file is empty; give a picture file")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: cat.jpg: the file is empty; give a picture file
    >>> str(BadInput("a\\x1b[31m.jpg: " + "x" * 5000 + "; give a name"))[-30:]
    'xxxxxxxxxxxxxxxxx; give a name'
    """

    def __init__(self, message: object = "") -> None:
        text = " ".join(str(message).splitlines())
        text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
        super().__init__(text if len(text) <= MOST else f"{text[: MOST - 305]} ... {text[-300:]}")


def first_line(error: BaseException) -> str:
    """Return the first line of what a library's error says, or its kind if it says nothing.

    What diffusers says of weights that do not fit their config is put in fewer words.

    >>> first_line(ValueError("no such key\\nand more")), first_line(KeyError())
    ('no such key', 'KeyError')
    >>> first_line(ValueError("Cannot: a.bias expected shape torch.Size([4]), but got torch.Size([2]). If"))
    'the weights are those of another model: a.bias is [2] there, and [4] by config.json'
    """
    misfit = _MISFIT.search(str(error))
    if misfit:
        name, expected, there = misfit.groups()
        return f"the weights are those of another model: {name} is {there} there, and {expected} by config.json"
    return (str(error).strip() or type(error).__name__).splitlines()[0]
