"""Pictures of features, matches and parts: PCA in colour, heat maps, matches, masks over photos, contact sheets."""

from __future__ import annotations

from shiftless.view.confusion import confusion_picture
from shiftless.view.legend import legend, uncertainty_bar
from shiftless.view.matches import heat_overlay, match_sheet, matches_picture
from shiftless.view.method import Column, Outline, method_picture
from shiftless.view.pca import pca_rgb
from shiftless.view.segmentation import indexed_png, overlay, segmented, uncertainty_picture
from shiftless.view.sheet import contact_sheet, enlarge, save_picture

__all__ = [
    "Column", "Outline", "confusion_picture", "contact_sheet", "enlarge", "heat_overlay", "indexed_png", "legend",
    "match_sheet", "matches_picture", "method_picture", "overlay", "pca_rgb", "save_picture", "segmented",
    "uncertainty_bar", "uncertainty_picture",
]  # fmt: skip
