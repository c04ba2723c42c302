"""New SegFormers to train: with random weights in a few sizes, or on weights from a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shiftless.backbones.vision_folder import checked_config, digest_of_vision, one_line
from shiftless.conditions.config import check_values
from shiftless.conditions.silence import silenced
from shiftless.conditions.weights import TRANSFORMERS, find_weights
from shiftless.errors import BadInput
from shiftless.metrics.segmentation import IGNORE
from shiftless.noise import seeded
from shiftless.taps.lock import construction

WHAT = "SegFormer"
STRIDE = 32
"""Pixels a cell of the deepest level of every size; sides that a network is fed are multiples of it."""
ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"hidden_sizes": [16, 32, 80, 128], "depths": [1, 1, 1, 1], "decoder_hidden_size": 128},
    "b0": {"hidden_sizes": [32, 64, 160, 256], "depths": [2, 2, 2, 2], "decoder_hidden_size": 256},
    "b1": {"hidden_sizes": [64, 128, 320, 512], "depths": [2, 2, 2, 2], "decoder_hidden_size": 256},
}
"""Name -> the settings of its config: MiT-B0 and MiT-B1 of the paper, and a sixth of B0."""

Architecture = str | os.PathLike[str] | Mapping[str, Any]
"""A name, a folder of weights, or settings of a SegformerConfig."""


def new_network(
    architecture: Architecture,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]] | None = None,
    seed: int = 0,
) -> Any:
    """Make transformers' SegformerForSemanticSegmentation for some classes, in training mode, on the CPU.

    architecture  tiny, b0 or b1, or settings of a SegformerConfig: random weights, drawn from `seed`; or a folder of a
                  trained SegFormer, whose head is drawn anew where it has other classes, or is for images as a whole
    classes       L names, kept in its config
    palette       L colours, kept in its config too

    Raises BadInput for a name that is neither, and for a folder of something else.
    Source: Xie et al., NeurIPS 2021 (SegFormer).

    >>> sum(one.numel() for one in new_network("tiny", ["background", "horse"]).parameters())
    583858
    """
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    labels = {"id2label": dict(enumerate(classes)), "label2id": {name: i for i, name in enumerate(classes)}}
    about: dict[str, Any] = {**labels, "semantic_loss_ignore_index": IGNORE}
    if palette is not None:
        about["palette"] = [[int(value) for value in colour] for colour in palette]
    if isinstance(architecture, Mapping) or architecture in ARCHITECTURES:
        settings = architecture if isinstance(architecture, Mapping) else ARCHITECTURES[str(architecture)]
        with construction(), seeded(seed), silenced():
            return SegformerForSemanticSegmentation(SegformerConfig(**settings, **about)).train()
    folder = pretrained_folder(architecture)
    loading = {"use_safetensors": True, "local_files_only": True, "trust_remote_code": False}
    with one_line(folder, WHAT), construction(), seeded(seed), silenced():
        config = SegformerConfig.from_pretrained(folder, local_files_only=True, **about)
        network, info = SegformerForSemanticSegmentation.from_pretrained(
            folder, config=config, variant=find_weights(folder, TRANSFORMERS).variant, ignore_mismatched_sizes=True,
            output_loading_info=True, **loading,
        )  # fmt: skip
        lacking = sorted(str(key) for key in info["missing_keys"] if not str(key).startswith("decode_head."))
        if lacking:
            raise ValueError(f"its weights lack {lacking[0]}")
    check_values(network, folder)
    return network.float().train()


def pretrained_folder(architecture: Architecture) -> Path:
    """Return the folder that an architecture names; raises BadInput unless it is that of a SegFormer.

    >>> pretrained_folder("b9")
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: b9: no such architecture or folder; give one of tiny, b0, b1, or the folder of a ...
    """
    folder = Path(str(architecture))
    if not folder.is_dir():
        names = ", ".join(ARCHITECTURES)
        raise BadInput(f"{folder}: no such architecture or folder; give one of {names}, or the folder of a {WHAT}")
    check_segformer(folder)
    return folder


def check_segformer(folder: Path) -> dict[str, Any]:
    """Return the config of a folder; raises BadInput unless it is that of a SegFormer with its weights."""
    config = checked_config(folder, WHAT)
    if config.get("model_type") != "segformer":
        raise BadInput(f"{folder}: a model of type {config.get('model_type')!r}, not a {WHAT}; give another folder")
    return config


def is_pretrained(architecture: Architecture) -> bool:
    """Whether an architecture begins with trained weights.

    >>> is_pretrained("b0"), is_pretrained("models/mit-b0")
    (False, True)
    """
    return not isinstance(architecture, Mapping) and architecture not in ARCHITECTURES


def identity_of(architecture: Architecture) -> Any:
    """Return what tells an architecture from others, as JSON can hold it: its settings, or a digest of its folder."""
    if isinstance(architecture, Mapping):
        return dict(architecture)
    return digest_of_vision(Path(architecture))() if is_pretrained(architecture) else str(architecture)
