"""Pictures that commands leave behind."""

from __future__ import annotations

from pathlib import Path

from shiftless.errors import BadInput


def save_picture(picture, path: Path) -> None:  # type: ignore[no-untyped-def]  # a PIL image; PIL loads late
    """Save a picture whole or not at all; raises BadInput for a place or kind that cannot be written."""
    from io import BytesIO

    content = BytesIO()
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".png": "PNG"}.get(path.suffix.lower())
    if kind is None:
        raise BadInput(f"{path}: pictures are written as .png, .jpg or .webp; name it so")
    picture.save(content, kind)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.part")
        partial.write_bytes(content.getvalue())
        partial.replace(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror}); choose another place with --out") from None
