"""The model hub's cache on this machine: what was fetched before; nothing is fetched here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def fetched(hub_id: str) -> Path | None:
    """Return the folder of a hub id that was fetched before, wholly or in part, or None.

    The folder may lack files that the repository has: a fetch with --include leaves most of them out on purpose.

    >>> fetched("nobody/nothing-of-the-kind") is None
    True
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except LocalEntryNotFoundError as error:
        # huggingface_hub 2 raises for a snapshot that holds less than the whole repository, and says where it lies
        partial = getattr(error, "snapshot_path", None)
        return Path(partial) if partial else None
    except (HfHubHTTPError, OSError, ValueError):
        return None


def fetch_command(hub_id: str, patterns: Sequence[str] = ()) -> str:
    """Return the shell command that fetches the files of a repository that match glob patterns; all without any.

    >>> fetch_command("openai/clip", ["*.json"])
    "hf download openai/clip --include '*.json'"
    """
    return " ".join([f"hf download {hub_id}", *(f"--include '{pattern}'" for pattern in patterns)])


def is_hub_id(name: str) -> bool:
    """Whether a name could be a hub id, OWNER/NAME, and not a path.

    >>> is_hub_id("openai/clip"), is_hub_id("./clip"), is_hub_id("/clip"), is_hub_id("clip")
    (True, False, False, False)
    """
    return name.count("/") == 1 and all(name.split("/")) and not name.startswith((".", "~"))
