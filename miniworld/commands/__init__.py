"""The laboratory's commands: `demo`, `mini` and `bench mini-*`, added to the command line of shiftless."""

from __future__ import annotations


def register() -> None:
    """Add the commands; the entry point `miniworld` of the group `shiftless.commands`."""
    from miniworld.commands import bench, demo, mini, parts, scenes  # noqa: F401  # each adds its commands when imported
