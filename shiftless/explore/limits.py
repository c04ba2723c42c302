"""Limits of the explorer: how much of anything a browser may send or ask for at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one request, one session and the whole app may take.

    photos          in the strip, of the folder and uploaded together
    upload_bytes    of one photo that is uploaded, as a file
    uploads_bytes   of all of them together
    upload_pixels   of one of them, decoded
    recipes         that are shown side by side
    json_bytes      of a request that is no upload
    zip_bytes       of masks that are imported, packed; each file in it may unpack to `mask_bytes`
    stroke_points   of all strokes on one photo
    classes         that can be painted
    labelled        photos with strokes that a fit learns from
    audited         photos that one audit measures
    side            cells along the longer side of a heat map or a picture of features that is sent
    segments        of features, by k-means
    waiting         jobs of one client that may wait for the model
    feature_bytes   of features that are kept in memory, all clients together
    sessions        clients whose masks are kept; the one that was idle longest is forgotten first

    >>> Limits().recipes
    4
    """

    photos: int = 400
    upload_bytes: int = 32 << 20
    uploads_bytes: int = 512 << 20
    upload_pixels: int = 50_000_000
    recipes: int = 4
    json_bytes: int = 8 << 20
    zip_bytes: int = 64 << 20
    mask_bytes: int = 16 << 20
    stroke_points: int = 50_000
    classes: int = 64
    labelled: int = 64
    audited: int = 32
    side: int = 128
    segments: int = 24
    waiting: int = 32
    feature_bytes: int = 2 << 30
    sessions: int = 32
