"""Reading an annotation file: one clear line if it is not valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shiftless.errors import BadInput


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's object; raises BadInput naming the file if it is missing or something else.

    >>> read_json(Path("nowhere.json"))
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere.json: no such file
    """
    document = parse_json(path)
    if not isinstance(document, dict):
        raise BadInput(f"{path}: must hold one JSON object {{...}}, not a {type(document).__name__}")
    return document


def parse_json(path: Path) -> Any:
    """Return what a JSON file holds; raises BadInput naming the file if it is missing or not valid.

    >>> parse_json(Path("nowhere.json"))
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere.json: no such file
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read ({error})") from None
    except RecursionError:
        raise BadInput(f"{path}: not valid JSON (nested too deeply)") from None
    except ValueError as error:  # also a number of thousands of digits
        raise BadInput(f"{path}: not valid JSON ({error})") from None


def field(record: Any, name: str, where: str) -> Any:
    """Return record[name]; raises BadInput naming `where` if there is none.

    >>> field({"cls": "cat"}, "cls", "a.json")
    'cat'
    """
    if not isinstance(record, dict) or name not in record:
        raise BadInput(f"{where}: has no {name!r}")
    return record[name]
