"""MaskCLIP: a CLIP says of every cell of a photo which of some names it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shiftless.backbones.clip_folder import TEMPLATES, ClipFolder
from shiftless.digest import digest_of
from shiftless.errors import BadInput
from shiftless.image import open_photo
from shiftless.segmenting.named import NamedClasses
from shiftless.segmenting.untrained import check_names, parts_of
from shiftless.tasks.openvocab import SCALE, class_logits, smooth_by_keys, without_absent
from shiftless.tasks.parts import Parts


class MaskClip(NamedClasses):
    """Segments photos by the embeddings of class names, without any training.

    clip       what `open_clip` gave
    classes    names, class 0 first
    smooth     smooth by the similarity of keys (off by default, as in the paper's code)
    least      drop classes whose probability is below this at every cell, 0 for none (prompt denoising; the same)
    templates  sentences that names are put into

    Raises BadInput for names that `check_names` refuses, and `least` outside 0 to 1. Source: Zhou et al., "Extract Free
    Dense Labels from CLIP", ECCV 2022.
    """

    method = "MaskCLIP"

    def __init__(
        self, clip: ClipFolder, classes: Sequence[str], *, smooth: bool = False, least: float = 0.0,
        templates: Sequence[str] = TEMPLATES,
    ) -> None:  # fmt: skip
        if not 0 <= least < 1:
            raise BadInput(f"least={least:g}: a probability from 0 up to, but not including, 1")
        self.clip, self.classes, self.smooth, self.least = clip, check_names(classes), smooth, least
        self.names = clip.words(self.classes, templates)
        self.mark = digest_of("maskclip", clip.fingerprint, self.classes, smooth, least, list(templates))

    def segment(self, photo: Any) -> Parts:
        """Say what each pixel of a photo shows; raises BadInput for one that cannot be read."""
        opened = open_photo(photo)
        cells = self.clip.cells(opened)
        logits = class_logits(cells.dense, self.names)
        if self.smooth:
            logits = smooth_by_keys(logits / SCALE, cells.keys)
        if self.least:
            logits = without_absent(logits, self.least)
        return parts_of(logits[0], opened.hw, opened.name)
