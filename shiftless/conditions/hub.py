"""The model hub's cache on this machine: what was fetched before; nothing is fetched here."""

from __future__ import annotations

from pathlib import Path


def fetched(hub_id: str) -> Path | None:
    """Return the folder of a hub id that was fetched before, or None.

    >>> fetched("nobody/nothing-of-the-kind") is None
    True
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except (LocalEntryNotFoundError, HfHubHTTPError, FileNotFoundError, ValueError):
        return None


def is_hub_id(name: str) -> bool:
    """Whether a name could be a hub id, OWNER/NAME, and not a path.

    >>> is_hub_id("openai/clip"), is_hub_id("./clip"), is_hub_id("/clip"), is_hub_id("clip")
    (True, False, False, False)
    """
    return name.count("/") == 1 and all(name.split("/")) and not name.startswith((".", "~"))
