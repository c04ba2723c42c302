"""The model hub's cache on this machine: repositories fetched before; nothing is fetched here."""

from __future__ import annotations

from pathlib import Path

from shiftless.errors import BadInput


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


def need_fetched(hub_id: str, name: str = "") -> Path:
    """Return the folder of a hub id that was fetched before; raises BadInput with the command that fetches it.

    name  what the message calls it; the hub id itself by default

    >>> need_fetched("nobody/nothing-of-the-kind")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nobody/nothing-of-the-kind: not on this machine; fetch it once with: shiftless fetch ...
    """
    folder = fetched(hub_id)
    if folder is None:
        raise BadInput(f"{name or hub_id}: not on this machine; fetch it once with: {fetch_command(hub_id)}")
    return folder


def hub_id_of(folder: Path) -> str:
    """Return the hub id of a folder in the hub's cache, or of one inside it; "" for any other folder.

    >>> hub_id_of(Path("hub/models--some--model/snapshots/0123/unet")), hub_id_of(Path("models/mine"))
    ('some/model', '')
    """
    for place in (folder, *folder.parents):
        if place.parent.name == "snapshots" and place.parent.parent.name.startswith("models--"):
            return place.parent.parent.name.removeprefix("models--").replace("--", "/", 1)
    return ""


def fetch_command(name: str) -> str:
    """Return the shell command that fetches what is read of a model or a repository.

    >>> fetch_command("openai/clip")
    'shiftless fetch openai/clip'
    """
    return f"shiftless fetch {name}"


def fetch_again(folder: Path) -> str:
    """Return what fetches the rest of a folder in the hub's cache, as the remedy of a message; "" for other folders.

    >>> fetch_again(Path("hub/models--some--model/snapshots/0123"))
    'fetch the rest with: shiftless fetch some/model'
    """
    hub_id = hub_id_of(folder)
    return f"fetch the rest with: {fetch_command(hub_id)}" if hub_id else ""


def is_hub_id(name: str) -> bool:
    """Whether a name could be a hub id, OWNER/NAME, and not a path.

    >>> is_hub_id("openai/clip"), is_hub_id("./clip"), is_hub_id("/clip"), is_hub_id("clip")
    (True, False, False, False)
    """
    return name.count("/") == 1 and all(name.split("/")) and not name.startswith((".", "~"))
