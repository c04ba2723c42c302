"""Image-to-text models of transformers as captioners; one row of a table for each family."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from shiftless.conditions.caption_memory import spoken
from shiftless.conditions.config import check_complete, check_layers, read_config
from shiftless.conditions.hub import fetch_again
from shiftless.conditions.silence import silenced
from shiftless.conditions.weights import TRANSFORMERS, find_weights
from shiftless.errors import BadInput, first_line
from shiftless.image import Photo
from shiftless.taps.lock import construction, exclusive

MOST_TOKENS = 60
"""A caption's length; with the text encoder's 77 tokens in mind."""
BATCH = 8


@dataclass(frozen=True)
class Family:
    """How a family of models is prompted for a caption.

    prompt  the text given with the picture; "" for families that caption without one
    clean   raw text -> caption, where the answer holds more than that
    """

    prompt: str = ""
    clean: Callable[[str], str] = str


def without_places(text: str) -> str:
    """Remove from a grounded answer the picture's tokens before it and the location tokens.

    >>> without_places("<image></image> An image of<phrase> a cat</phrase><object><patch_index_0044></object>.")
    ' An image of a cat.'
    """
    return re.sub(r"<[^>]*>", "", text.split("</image>")[-1])


FAMILIES = {
    "florence2": Family("<CAPTION>"),
    "kosmos-2": Family("<grounding>An image of", without_places),
}
"""By `model_type` of config.json; any other model gets the picture alone."""


class ImageToText:
    """A captioner made of a transformers model; `load_captioner` makes it.

    Decoding is greedy and no row of a batch sees another, so that a caption is a function of its photo's pixels.
    """

    def __init__(self, name: str, fingerprint: str, model: Any, processor: Any, tokenizer: Any) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.model, self.processor, self.tokenizer = model, processor, tokenizer
        self.family = FAMILIES.get(model.config.model_type, Family())

    @torch.no_grad()
    def caption(self, photos: Sequence[Photo]) -> list[str]:
        """Return one line for each photo.

        Raises BadInput for a photo for which the model gives no text, and, naming the captioner, where its
        config files ask of the photos or of the decoding what cannot be done.
        """
        return [
            spoken(text, self.name, photo.name)
            for start in range(0, len(photos), BATCH)
            for photo, text in zip(photos[start : start + BATCH], self._read(photos[start : start + BATCH]))
        ]

    def _read(self, photos: Sequence[Photo]) -> list[str]:
        pictures = [Image.fromarray(photo.array) for photo in photos]
        text = {"text": [self.family.prompt] * len(pictures)} if self.family.prompt else {}
        try:
            inputs = self.processor(images=pictures, return_tensors="pt", **text)
            inputs = inputs.to(self.model.device, self.model.dtype)
            with exclusive(self.model), silenced():
                tokens = self.model.generate(**inputs, max_new_tokens=MOST_TOKENS, do_sample=False, num_beams=1)
            texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
            # values of preprocessor_config.json and generation_config.json that only fail when they are used
            reason = first_line(error)
            raise BadInput(f"captioner {self.name}: it cannot caption ({reason}); fetch or save it again") from error
        return [self.family.clean(line) for line in texts]


def load_image_to_text(
    name: str, folder: Path, fingerprint: str, device: torch.device, dtype: torch.dtype
) -> ImageToText:
    """Load a folder of a transformers image-to-text model; raises BadInput, naming the folder, if it is none."""
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
    from transformers import VisionEncoderDecoderModel as EncoderDecoder

    if not (folder / "config.json").is_file():
        remedy = fetch_again(folder) or "give the folder of an image-to-text model"
        raise BadInput(f"{folder}: no config.json of a captioner here; {remedy}")
    variant = find_weights(folder, TRANSFORMERS).variant
    path = folder / "config.json"
    check_layers(folder, read_config(path), path)
    local: dict[str, Any] = {"local_files_only": True}
    try:
        with construction(), silenced():
            kind = AutoConfig.from_pretrained(folder, **local).model_type
            joined = kind == "vision-encoder-decoder"  # two models combined, which may lack a joint processor
            loader = EncoderDecoder if joined else AutoModelForImageTextToText
            loading = {"torch_dtype": dtype, "use_safetensors": True, "output_loading_info": True, "variant": variant}
            model, info = loader.from_pretrained(folder, **loading, **local)
            if joined:
                processor = AutoImageProcessor.from_pretrained(folder, **local)
                tokenizer = AutoTokenizer.from_pretrained(folder, **local)
            else:
                processor = AutoProcessor.from_pretrained(folder, **local)
                tokenizer = processor.tokenizer
    except Exception as error:  # the library raises many kinds; the user needs one line
        reason = first_line(error)
        raise BadInput(f"{folder}: not a captioner that can be loaded ({reason}); fetch or save it again") from error
    check_complete(info, folder)
    return ImageToText(name, fingerprint, model.to(device).eval().requires_grad_(False), processor, tokenizer)
