"""The oracle: what a picture of the embedded world shows, and so what a model invented in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from miniworld.world.labels import PARTS, SCENE_CLASSES
from miniworld.world.picture import KEYPOINTS, VEHICLES, Picture, keypoint_names
from shiftless.conditions.silence import silenced
from shiftless.errors import BadInput, first_line
from shiftless.metrics.iou import confusion, ious
from shiftless.metrics.pck import longer_side
from shiftless.mini import weights

NAME = "oracle"
"""The oracle's folder, beside the parts of the pipeline."""
SIZE, STRIDE, SUB = 128, 4, 2
"""Pixels a side that it sees, pixels a cell of its points' maps, and cells of its labels a side of one of these."""

_SCENE = tuple(name for name in SCENE_CLASSES if name != "animal")  # an animal's pixels are its parts
_BODY = tuple(name for name in PARTS if name not in ("background", "person"))
LABELS: tuple[str, ...] = _SCENE + _BODY
"""What a pixel can show: a class of the scene, or a part of a creature."""
POINTS: tuple[str, ...] = tuple(dict.fromkeys([*KEYPOINTS, *(n for kind in VEHICLES for n in keypoint_names(kind))]))
"""Every named point of the world; what several kinds have, such as `front_wheel`, is one."""
CHANNELS: tuple[str, ...] = tuple(f"{name} {k}" for name in LABELS for k in range(SUB * SUB)) + POINTS
"""What the network's output channels are."""

_OF_SCENE = np.array([LABELS.index(n) if n in LABELS else 255 for n in SCENE_CLASSES], np.uint8)
_OF_PART = np.array([LABELS.index(n) if n in LABELS else 255 for n in PARTS], np.uint8)
_SUBJECT = np.isin(LABELS, (*_BODY, "person", "vehicle"))
LEAST, REACH = 20, 2
"""Pixels of a label that make it worth counting, and pixels by which an outline may waver without meaning anything."""
_BATCH = 32


def truth_labels(picture: Picture) -> np.ndarray:
    """Give what each pixel of a drawn picture truly shows, H W uint8 of `LABELS`.

    >>> from miniworld.world.picture import draw
    >>> labels = truth_labels(draw(3, kind="horse", rider=True))
    >>> sorted({LABELS[i] for i in np.unique(labels)} & {"neck", "person", "vehicle"})
    ['neck', 'person']
    """
    return np.where(picture.parts > 0, _OF_PART[picture.parts], _OF_SCENE[picture.scene])


def truth_points(picture: Picture) -> np.ndarray:
    """Give where each of `POINTS` truly is in a drawn picture, P 2 in pixels; NaN for what cannot be seen in it.

    >>> from miniworld.world.picture import draw
    >>> picture = draw(3)
    >>> int(np.isfinite(truth_points(picture)).all(1).sum()) == int(picture.visible.sum())
    True
    """
    out = np.full((len(POINTS), 2), np.nan, np.float32)
    for name, point, visible in zip(keypoint_names(picture.kind), picture.keypoints, picture.visible):
        if visible:
            out[POINTS.index(name)] = point
    return out


@dataclass(frozen=True, eq=False)
class OracleReport:
    """What an oracle says of B pictures; `report[i]` is the same of one of them, without B.

    labels      B H W uint8, indices of `LABELS`
    points      B P 2 float32, where each of `POINTS` is if it is there, in pixels with centres at +0.5
    confidence  B P float32 in [0, 1], the share of a point's probability that lies around that place
    """

    labels: np.ndarray
    points: np.ndarray
    confidence: np.ndarray

    def __getitem__(self, index: int) -> OracleReport:
        return OracleReport(self.labels[index], self.points[index], self.confidence[index])


class Oracle:
    """A network that tells what pictures of the embedded world show; `shiftless mini train --stage oracle` makes it."""

    def __init__(self, network: Any) -> None:
        self.network = network.eval()

    @torch.no_grad()
    def look(self, pictures: np.ndarray) -> OracleReport:
        """Tell what pictures B H W 3 uint8 show; other sizes than `SIZE` are resized to be looked at.

        Raises `BadInput` for anything else.

        >>> from miniworld.world.picture import draw
        >>> picture = draw(3, kind="cow")
        >>> report = load_oracle().look(picture.image[None])
        >>> report.labels.shape, bool((report.labels[0] == truth_labels(picture)).mean() > 0.8)
        ((1, 128, 128), True)
        """
        if pictures.ndim != 4 or pictures.shape[-1] != 3 or pictures.dtype != np.uint8 or not pictures.size:
            raise BadInput(f"pictures {pictures.dtype} of shape {pictures.shape}: the oracle looks at B H W 3 uint8")
        parts = [self._look(pictures[i : i + _BATCH]) for i in range(0, len(pictures), _BATCH)]
        return OracleReport(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in OracleReport.__annotations__)
        )

    def _look(self, pictures: np.ndarray) -> OracleReport:
        h, w = pictures.shape[1:3]
        pixels = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        if (h, w) != (SIZE, SIZE):
            pixels = F.interpolate(pixels, size=(SIZE, SIZE), mode="bilinear", antialias=True)
        scores, maps = split(self.network(pixel_values=pixels).logits)
        labels = F.interpolate(scores, size=(h, w), mode="bilinear").argmax(1)
        places, confidence = peaks(maps.flatten(2).softmax(-1).reshape(maps.shape))
        scale = torch.tensor([w / maps.shape[-1], h / maps.shape[-2]])
        return OracleReport(labels.numpy().astype(np.uint8), (places * scale).numpy(), confidence.numpy())


def split(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Take logits B `CHANNELS` h w apart into the labels' B L 2h 2w and the points' B P h w.

    >>> labels, points = split(torch.zeros(1, len(CHANNELS), 8, 8))
    >>> labels.shape, points.shape
    (torch.Size([1, 34, 16, 16]), torch.Size([1, 56, 8, 8]))
    """
    cells = len(LABELS) * SUB * SUB
    return F.pixel_shuffle(logits[:, :cells], SUB), logits[:, cells:]


def peaks(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Give the place of each map's peak, B P 2 in cells with centres at +0.5, and the probability around it, B P.

    The maps B P h w are probabilities. The place is their mean over the 3 x 3 cells around the likeliest one.

    >>> maps = torch.zeros(1, 1, 4, 4)
    >>> maps[0, 0, 1, 1:3] = torch.tensor([0.75, 0.25])
    >>> peaks(maps)
    (tensor([[[1.7500, 1.5000]]]), tensor([[1.]]))
    """
    h, w = maps.shape[-2:]
    likeliest = maps.flatten(2).argmax(-1)
    row, column = likeliest // w, likeliest % w
    y, x = torch.arange(h)[:, None], torch.arange(w)
    near = ((y - row[..., None, None]).abs() <= 1) & ((x - column[..., None, None]).abs() <= 1)
    window = maps * near
    mass = window.sum((-2, -1))
    places = torch.stack([(window * (x + 0.5)).sum((-2, -1)), (window * (y + 0.5)).sum((-2, -1))], -1)
    return places / mass[..., None], mass


def find_oracle(folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of an oracle: the shipped one, a folder of its own, or a model's that has one inside.

    Raises `BadInput` when there is none.

    >>> find_oracle().name
    'oracle'
    """
    root = weights() if folder is None else Path(folder)
    folder_of_oracle = next((path for path in (root / NAME, root) if (path / "model.safetensors").is_file()), None)
    if folder_of_oracle is None:
        raise BadInput(f"{root}: no oracle here; give its folder, or train one with `shiftless mini train`")
    return folder_of_oracle


def load_oracle(folder: str | os.PathLike[str] | None = None) -> Oracle:
    """Load an oracle, in float32 on the processor: the shipped one, or that of a folder.

    Raises `BadInput` when there is none, or one whose labels and points are not this world's.

    >>> load_oracle("nowhere")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere: no oracle here; give its folder, or train one with `shiftless mini train`
    """
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    path = find_oracle(folder)
    try:
        config = SegformerConfig.from_pretrained(path, local_files_only=True)
        if tuple(config.id2label.values()) != CHANNELS:
            raise BadInput(f"{path}: it tells other labels or points than this world's; train an oracle anew")
        with silenced():
            network = SegformerForSemanticSegmentation.from_pretrained(
                path, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True
            )
    except BadInput:
        raise
    except Exception as error:  # the library raises many kinds; the user needs one line
        reason = first_line(error)
        raise BadInput(f"{path}: not an oracle that can be loaded ({reason}); train an oracle anew") from error
    return Oracle(network)


@dataclass(frozen=True)
class Invented:
    """What a model's prediction says of one picture that is not so, beyond what its autoencoder alone gets wrong.

    parts     how much of the mean IoU over the labels that the picture has is lost
    appeared  share of the picture's pixels that show what is not there
    vanished  share of the subject's pixels, with its rider's, that show something else
    points    how much farther the visible points are from where they should be, in longer sides of the subject's box
    """

    parts: float
    appeared: float
    vanished: float
    points: float


def invented(report_kept: OracleReport, report_predicted: OracleReport, picture: Picture) -> Invented:
    """Measure by the world's truth what a model invented in one picture; all 0 for a prediction like `report_kept`.

    report_kept       what an oracle says of the autoencoder's own reconstruction of the picture
    report_predicted  what it says of the model's prediction; both without B, as `OracleReport.__getitem__` gives them
    picture        the truth

    What lies within `REACH` pixels of where the truth or the reconstruction has it neither appeared nor vanished.
    Raises `BadInput` if the sizes differ.

    >>> from miniworld.world.picture import draw
    >>> picture = draw(3, kind="cow")
    >>> report = OracleReport(truth_labels(picture), truth_points(picture), np.ones(len(POINTS), np.float32))
    >>> empty = OracleReport(np.full_like(report.labels, LABELS.index("sky")), report.points, report.confidence)
    >>> invented(report, report, picture).vanished, invented(report, empty, picture).vanished
    (0.0, 1.0)
    """
    truth, kept, predicted = truth_labels(picture), report_kept.labels, report_predicted.labels
    if not truth.shape == kept.shape == predicted.shape:
        raise BadInput(f"labels {kept.shape} and {predicted.shape} of a picture {truth.shape}: give one picture's, H W")
    new = np.zeros(truth.shape, bool)
    for label in np.unique(predicted):
        new |= (predicted == label) & ~_around((truth == label) | (kept == label))
    had = _SUBJECT[truth] & _SUBJECT[kept]
    lost = had & ~_around(_SUBJECT[predicted])
    return Invented(
        parts=_mean_iou(kept, truth) - _mean_iou(predicted, truth),
        appeared=float(new.mean()),
        vanished=float(lost.sum() / max(had.sum(), 1)),
        points=_mean_distance(report_predicted, picture) - _mean_distance(report_kept, picture),
    )


def _around(mask: np.ndarray) -> np.ndarray:
    """Widen a mask H W by `REACH` pixels."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)) > 0


def _mean_iou(labels: np.ndarray, truth: np.ndarray) -> float:
    """The mean IoU (Everingham et al. 2010) over the labels that the truth has at `LEAST` pixels of."""
    shown = np.flatnonzero(np.bincount(truth.ravel()) >= LEAST)
    return float(ious(confusion(truth, labels, len(LABELS)))[shown].mean())


def _mean_distance(report: OracleReport, picture: Picture) -> float:
    """The mean distance of the visible points from the truth, in longer sides of the box; 0 without any."""
    true = truth_points(picture)
    known = np.isfinite(true).all(1)
    if not known.any():
        return 0.0
    return float(np.hypot(*(report.points - true)[known].T).mean() / longer_side(picture.box))
