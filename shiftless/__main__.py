"""`python -m shiftless` is the command `shiftless`."""

from __future__ import annotations

from shiftless.cli import main

if __name__ == "__main__":
    main()
