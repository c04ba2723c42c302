"""Pictures of features and matches: PCA in colour, heat maps, matches, contact sheets."""

from __future__ import annotations

from shiftless.view.matches import heat_overlay, match_sheet, matches_picture
from shiftless.view.method import Column, Outline, method_picture
from shiftless.view.pca import pca_rgb
from shiftless.view.sheet import contact_sheet, enlarge, save_picture

__all__ = [
    "Column", "Outline", "contact_sheet", "enlarge", "heat_overlay", "match_sheet", "matches_picture", "method_picture",
    "pca_rgb", "save_picture",
]  # fmt: skip
