"""Odise: masks that a trained head proposes go to names, by what the head and a CLIP say of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from shiftless.backbones.clip_folder import TEMPLATES, ClipFolder
from shiftless.digest import digest_of, digest_of_tensors
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.image import Photo, open_photo
from shiftless.reading.extraction import stream
from shiftless.reading.together import Reader
from shiftless.segmenting.named import NamedClasses
from shiftless.segmenting.untrained import check_names
from shiftless.tasks.openvocab import ALPHA, BETA, SCALE, combined_classes, mask_pooled
from shiftless.tasks.parts import Parts
from shiftless.tasks.scenehead import SceneHead, parts_of
from shiftless.tasks.windows import slide


class Odise(NamedClasses):
    """Segments photos into classes that are given by their names, which need not be those of the training.

    head         a SceneHead of "mask2former" that was trained with the embeddings of this CLIP
    reader       the model that reads photos for it, with its recipes
    clip         what `open_clip` gave
    classes      names, class 0 first
    alpha, beta  how much CLIP counts for names that the head was trained with, and for others
    templates    sentences that names are put into
    batch        latents that the model sees at once

    Photos are read as the head's were: as a whole, or by windows of its size. Raises BadInput for names that
    `check_names` refuses, a head that knows no words or those of another CLIP, and weights outside 0 to 1.
    Source: Xu et al., "Open-Vocabulary Panoptic Segmentation with Text-to-Image Diffusion Models", CVPR 2023.
    """

    method = "ODISE-like"

    def __init__(
        self, head: SceneHead, reader: Reader, clip: ClipFolder, classes: Sequence[str], *, alpha: float = ALPHA,
        beta: float = BETA, templates: Sequence[str] = TEMPLATES, batch: int | None = None,
    ) -> None:  # fmt: skip
        known = head.settings.get("proposals", {})
        if not known.get("words"):
            raise BadInput("the head knows no words; train one with segment train --head mask2former --clip FOLDER")
        if known.get("clip") != clip.fingerprint:
            raise BadInput(f"{clip.name}: another CLIP than the head was trained with; give that one")
        if not (0 <= alpha <= 1 and 0 <= beta <= 1):
            raise BadInput(f"alpha={alpha:g}, beta={beta:g}: give shares from 0 to 1")
        self.classes = check_names(classes)
        self.head, self.reader, self.clip = head.eval(), reader, clip
        self.alpha, self.beta, self.batch = alpha, beta, batch
        self.names = clip.words(self.classes, templates)
        self.trained = torch.tensor([name in head.classes for name in self.classes])
        self.mark = digest_of(
            "odise", digest_of_tensors(head.state_dict()), reader.model.fingerprint, clip.fingerprint, self.classes,
            alpha, beta, list(templates),
        )  # fmt: skip

    @property
    def device(self) -> torch.device:
        """Where the head runs."""
        return self.head.device

    @torch.no_grad()
    def logits(self, bucket: tuple[Photo, Sequence[FeatureMaps]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of a picture with its readings, 1 L H W, and the mean of its merged features, D."""
        photo, readings = bucket
        features = self.head.features(readings)
        proposals = self.head.proposals(features, self.names)
        masks = proposals.masks[-1]
        names = self.names.to(self.device)
        pooled = F.normalize(mask_pooled(self.clip.cells(photo).dense.to(self.device), masks), dim=-1)
        classes = combined_classes(proposals.classes[-1], SCALE * pooled @ names.T, self.trained, self.alpha, self.beta)
        described = torch.cat([one.float().mean((0, 2, 3)) for one in self.head.merged(features)])
        return proposals.scored(classes), described

    def segment(self, photo: Any) -> Parts:
        """Say what each pixel of a photo shows; raises BadInput for one that cannot be read."""
        opened = open_photo(photo)
        if self.head.window:
            return slide(self, opened, self._read, side=self.head.window, stride=self.head.window)
        (read,) = self._read([opened])
        logits, descriptor = self.logits(read)
        return parts_of(logits, opened.hw, opened.name, descriptor)

    def _read(self, views: Sequence[Photo]) -> Iterable[tuple[Photo, Sequence[FeatureMaps]]]:
        model, recipes = self.reader
        return zip(views, stream(model, views, list(recipes), batch=self.batch, dtype=None), strict=True)
