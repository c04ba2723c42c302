"""The model hub's cache on this machine: repositories fetched before; nothing is fetched here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shiftless.errors import BadInput

_ENDINGS = ("model.safetensors", "model-*.safetensors")  # in one file, and in parts
MODEL_FILES = ("*.json", "*.txt", *(f"{p}/*{end}" for p in ("unet", "vae", "text_encoder") for end in _ENDINGS))
CONTROL_FILES = ("*.json", *(f"*{end}" for end in _ENDINGS))
CAPTIONER_FILES = ("*.json", "*.txt", "*.model", *_ENDINGS)
VISION_FILES = ("*.json", *_ENDINGS)
"""What is fetched of a repository, as globs: settings, vocabularies, and the usual weights, whole or in parts."""


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


def need_fetched(hub_id: str, patterns: Sequence[str], name: str = "") -> Path:
    """Return the folder of a hub id that was fetched before; raises BadInput with the command that fetches it.

    patterns  globs of the files that are needed
    name      what the message calls it; the hub id itself by default

    >>> need_fetched("nobody/nothing-of-the-kind", ["*.json"])
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nobody/nothing-of-the-kind: not on this machine; fetch it once with: hf download ...
    """
    folder = fetched(hub_id)
    if folder is None:
        raise BadInput(f"{name or hub_id}: not on this machine; fetch it once with: {fetch_command(hub_id, patterns)}")
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


def fetch_command(hub_id: str, patterns: Sequence[str] = ()) -> str:
    """Return the shell command that fetches the files of a repository that match glob patterns; all without any.

    Double quotes keep a pattern whole in sh, in PowerShell and in cmd. Before huggingface_hub 1 the last --include
    took the place of the others.

    >>> fetch_command("openai/clip", ["*.json"])
    'hf download openai/clip --include "*.json"'
    """
    return " ".join([f"hf download {hub_id}", *(f'--include "{pattern}"' for pattern in patterns)])


def fetch_again(folder: Path, patterns: Sequence[str]) -> str:
    """Return what fetches the rest of a folder in the hub's cache, as the remedy of a message; "" for other folders.

    >>> fetch_again(Path("hub/models--some--model/snapshots/0123"), ["*.json"])
    'fetch the rest with: hf download some/model --include "*.json"'
    """
    hub_id = hub_id_of(folder)
    return f"fetch the rest with: {fetch_command(hub_id, patterns)}" if hub_id else ""


def is_hub_id(name: str) -> bool:
    """Whether a name could be a hub id, OWNER/NAME, and not a path.

    >>> is_hub_id("openai/clip"), is_hub_id("./clip"), is_hub_id("/clip"), is_hub_id("clip")
    (True, False, False, False)
    """
    return name.count("/") == 1 and all(name.split("/")) and not name.startswith((".", "~"))
