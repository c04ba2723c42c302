"""FLUX.2 dev: as FLUX.2 klein, with Mistral Small as its text encoder, and told a guidance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shiftless.backbones.flux2 import Flux2
from shiftless.backbones.parts import place_of
from shiftless.backbones.random_parts import mistral, mistral_tokenizer
from shiftless.conditions.condition import Condition
from shiftless.conditions.config import read_config

_IMAGE = "[IMG]"  # the token of a picture, which a prompt may not hold


class Flux2Dev(Flux2):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    A prompt stands behind the system message of diffusers' Flux2Pipeline. Prompts are padded to 512 tokens on the side
    that the tokenizer says; the padding is seen by the network.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:flux2-dev", dtype="fp32")
    >>> model.encode_prompt(["a horse"]).embeds.shape
    torch.Size([1, 512, 48])
    """

    FAMILY = "flux2-dev"
    PARTS = {  # noqa: RUF012
        **Flux2.PARTS,
        "text_encoder": "transformers:Mistral3ForConditionalGeneration",
        "tokenizer": "transformers:PreTrainedTokenizerFast",  # its folder holds a processor of pictures too
    }
    ENCODER = "mistral3"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether a diffusers folder holds a FLUX.2 whose text encoder is Mistral."""
        path = place_of(folder, "text_encoder") / "config.json"
        return super().recognises(folder) and path.is_file() and read_config(path).get("model_type") == cls.ENCODER

    @classmethod
    def twin_language(cls, config: Mapping[str, Any], *, full: bool) -> dict[str, Any]:
        """Build the text encoder and its tokenizer with random weights."""
        return {"text_encoder": mistral(config, full=full), "tokenizer": mistral_tokenizer()}

    def _encode(self, prompt: str) -> Condition:
        from diffusers.pipelines.flux2 import pipeline_flux2

        return self._encode_message(prompt.replace(_IMAGE, ""), {}, pipeline_flux2.SYSTEM_MESSAGE)
