"""What a LoRA learns from: photos as latents, each under several captions; some are kept apart to judge by."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from shiftless.backbones.base import Backbone
from shiftless.conditions.caption_folder import CaptionFolder
from shiftless.conditions.prompt import token_windows
from shiftless.errors import BadInput
from shiftless.image import Photo, open_photo, plan, to_pixels
from shiftless.training.lora.settings import Settings

_FILLERS = re.compile(
    "an?|and|are|as|at|by|for|from|has|have|in|into|is|its?|of|on|or|over|that|the|their|there|this|to|under|while|"
    "which|who|with"
)


@dataclass(frozen=True)
class Example:
    """One photo: its clean latent 1 c h w (float32, on the CPU) and the captions it is shown with."""

    photo: Photo
    latent: torch.Tensor
    captions: tuple[str, ...]


def tags_of(sentence: str) -> str:
    """Return a sentence's content words, comma-separated, each once: the tags of a photo.

    >>> tags_of("A brown horse stands on the grass, facing left; the grass is tall.")
    'brown, horse, stands, grass, facing, left, tall'
    """
    words = re.findall(r"[^\W_]+(?:['-][^\W_]+)*", sentence.lower())
    return ", ".join(dict.fromkeys(word for word in words if not _FILLERS.fullmatch(word)))


def open_photos(sources: Sequence[Any], skipped: list[str]) -> list[Photo]:
    """Open what can be read, each picture once; the messages of the others are added to `skipped`.

    Raises BadInput where fewer than three are left: to learn from, to choose a candidate by, and to report on.
    """
    photos: dict[str, Photo] = {}
    for source in sources:
        try:
            photo = open_photo(source)
        except BadInput as error:
            skipped.append(str(error))
            continue
        photos.setdefault(photo.digest, photo)
    if len(photos) < 3:
        why = f"; {skipped[0]}" if skipped else ""
        raise BadInput(f"{len(photos)} different photos that can be read; give at least 3, better 30 or more{why}")
    return list(photos.values())


class Parts(NamedTuple):
    """Photos of a run; no photo is in two of its parts.

    learn   what is trained on
    choose  held out: the candidate that shifts these least is taken
    report  held out: what the taken candidate saves is measured on these, which had no say in the choice
    """

    learn: list[Photo]
    choose: list[Photo]
    report: list[Photo]


def chosen(photos: Sequence[Photo], settings: Settings) -> Parts:
    """Draw the photos to train on and those held out, half of them to choose a candidate by and half to report on.

    >>> photos = [open_photo(np.full((8, 8, 3), i, np.uint8)) for i in range(40)]
    >>> [len(part) for part in chosen(photos, Settings())]
    [30, 4, 4]
    """
    order = np.random.default_rng([settings.seed, 1]).permutation(len(photos))
    held = min(max(2, round(settings.hold_out * len(photos))), len(photos) - 1)
    drawn = [photos[i] for i in order]
    half = (held + 1) // 2
    return Parts(drawn[held : held + settings.photos], drawn[:half], drawn[half:held])


def written_captions(folder: CaptionFolder, photos: Sequence[Photo], say: Callable[[str], None]) -> list[str]:
    """Read each photo's caption from a folder, where it lies as the photo does in its own; "" where there is none.

    Raises BadInput if the folder holds captions of none of the photos, and as CaptionFolder does.
    """
    files = [folder.file(photo.name) for photo in photos]
    try:
        captions = [" ".join(file.read_text(encoding="utf-8").split()) if file.is_file() else "" for file in files]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{folder.folder}: a caption cannot be read ({error}); save captions as UTF-8 text") from None
    if not any(captions):
        raise BadInput(f"{folder.folder}: no captions of these photos; name them like the photos, such as {files[0]}")
    if without := sum(not text for text in captions):
        say(f"{without} of {len(photos)} photos have no caption in {folder.folder}; they are shown with the empty one")
    return captions


def examples_of(model: Backbone, photos: Sequence[Photo], sentences: Sequence[str]) -> list[Example]:
    """Encode each photo once, and give it its captions: nothing, tags, the sentence (GATE's three)."""
    examples = []
    for photo, sentence in zip(photos, sentences):
        frame = plan(photo.hw, model.spec.size, model.spec.multiple)
        latent = model.encode_image(to_pixels(photo, frame)).float().cpu()
        captions = ("", tags_of(sentence), sentence) if sentence else ("",)
        examples.append(Example(photo, latent, captions))
    return examples


class Batches:
    """The order in which a run sees its examples; the same for the same seed, wherever it is entered.

    Photos of one latent size share a batch, so that no photo needs to be cropped or squashed.
    """

    def __init__(self, examples: Sequence[Example], settings: Settings) -> None:
        self.examples, self.settings = examples, settings
        self._all = [(i, c) for i, e in enumerate(examples) for c in e.captions for _ in range(settings.repeats)]
        self.an_epoch = len(self._epoch(0))

    def _epoch(self, epoch: int) -> list[list[tuple[int, str]]]:
        rng = np.random.default_rng([self.settings.seed, 2, epoch])
        waiting: dict[torch.Size, list[tuple[int, str]]] = {}
        batches = []
        for j in rng.permutation(len(self._all)):
            i, caption = self._all[j]
            row = waiting.setdefault(self.examples[i].latent.shape, [])
            row.append((i, caption))
            if len(row) == self.settings.batch:
                batches.append(list(row))
                row.clear()
        return batches + [row for row in waiting.values() if row]

    def start(self, at: int) -> Iterator[list[tuple[int, str]]]:
        """Yield batch after batch of (which example, which caption), for ever, from number `at` on."""
        epoch, skip = divmod(at, self.an_epoch)
        while True:
            yield from self._epoch(epoch)[skip:]
            epoch, skip = epoch + 1, 0


def token_ids(model: Any, captions: Sequence[str]) -> torch.Tensor:
    """B captions -> B T token ids; a caption longer than the text encoder's window is cut there."""
    return torch.tensor([token_windows(model.tokenizer, caption)[0] for caption in captions], device=model.device)
