"""Parts with random weights, for twins: networks of any class, autoencoders, text encoders and their tokenizers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shiftless.backbones.parts import class_of
from shiftless.backbones.twins import byte_tokenizer
from shiftless.noise import seeded
from shiftless.taps.lock import construction


def network(path: str, config: Mapping[str, Any], changes: Mapping[str, Any] | None = None, seed: int = 0) -> Any:
    """Build a part of a class "library:Class" with random weights, always the same for a seed.

    config   its settings      changes  what is set otherwise, to make it small

    >>> network("diffusers:FlowMatchEulerDiscreteScheduler", {"shift": 3.0}).config.shift
    3.0
    """
    kind, settings = class_of(path), {**config, **(changes or {})}
    with construction(), seeded(seed):
        config_class = getattr(kind, "config_class", None)
        return kind(config_class(**settings)) if config_class is not None else kind(**settings)


def autoencoder(config: Mapping[str, Any], *, full: bool = False) -> Any:
    """Build an AutoencoderKL with random weights: as its config says, or with a few channels.

    >>> autoencoder({"block_out_channels": [128, 256], "latent_channels": 4}).config.block_out_channels
    [16, 32]
    """
    levels = len(config["block_out_channels"])
    small = {"block_out_channels": [16, *[32] * (levels - 1)], "layers_per_block": 1, "norm_num_groups": 8}
    blocks = {
        "down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels,
    }  # fmt: skip
    return network("diffusers:AutoencoderKL", {**blocks, **config}, {} if full else small)


def clip(path: str, config: Mapping[str, Any], *, full: bool = False, width: int = 32) -> Any:
    """Build a CLIP text encoder of a class "library:Class" with random weights, `width` wide if not in full size.

    >>> clip("transformers:CLIPTextModel", {"hidden_size": 768}, width=16).config.hidden_size
    16
    """
    tokenizer = byte_tokenizer()
    small = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 3, "num_attention_heads": 4}
    small |= {"projection_dim": width, "vocab_size": len(tokenizer)}
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return network(path, {**config, **special}, {} if full else small)


def t5(config: Mapping[str, Any], *, full: bool = False) -> Any:
    """Build a T5EncoderModel with random weights, 32 channels wide if not in full size."""
    small = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 512}
    return network("transformers:T5EncoderModel", config, {} if full else small)


def t5_tokenizer() -> Any:
    """Make a T5 tokenizer whose tokens are single letters: no vocabulary to download.

    >>> t5_tokenizer()("a cat")["input_ids"].__len__()
    7
    """
    from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(33, 127)] + [chr(code) for code in range(161, 400)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    tokenizer = Tokenizer(Unigram([*special, *((letter, -3.0) for letter in letters)], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("\u2581", "always")
    tokenizer.decoder = decoders.Metaspace("\u2581", "always")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **names)


def save_parts(parts: Mapping[str, Any], folder: Path) -> None:
    """Save parts as a diffusers folder in the published layout, each in a folder of its own name."""
    for name, part in parts.items():
        part.save_pretrained(folder / name)
