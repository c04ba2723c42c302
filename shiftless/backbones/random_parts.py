"""Parts with random weights, for twins: networks of any class, autoencoders, text encoders and their tokenizers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from shiftless.backbones.parts import class_of
from shiftless.backbones.twins import byte_tokenizer
from shiftless.conditions.image_prompt import ImageAdapter, image_processor, published_names
from shiftless.conditions.prompt import byte_alphabet
from shiftless.noise import seeded
from shiftless.taps.lock import construction


def network(path: str, config: Mapping[str, Any], changes: Mapping[str, Any] | None = None, seed: int = 0) -> Any:
    """Build a part of a class "library:Class" with random weights, always the same for a seed.

    config   its settings      changes  what is set otherwise, to make it small

    A scheduler is made on the CPU always, since it computes with its numbers: networks may be made on torch's "meta"
    device, where they have shapes and no values.

    >>> network("diffusers:FlowMatchEulerDiscreteScheduler", {"shift": 3.0}).config.shift
    3.0
    """
    kind, settings = class_of(path), {**config, **(changes or {})}
    place = torch.device("cpu") if "Scheduler" in path else nullcontext()
    with construction(), seeded(seed), place:
        config_class = getattr(kind, "config_class", None)
        return kind(config_class(**settings)) if config_class is not None else kind(**settings)


def anew(network: Any) -> Any:
    """Build the same network again, with the random weights that its class begins with.

    >>> config = {"norm_num_groups": 8, "block_out_channels": [8], "latent_channels": 8}
    >>> anew(network("diffusers:AutoencoderKL", config)).config.latent_channels
    8
    """
    kind = type(network)
    return kind.from_config(network.config) if hasattr(kind, "from_config") else kind(network.config)


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


_CHAT = (  # the form of Qwen3's template, for one message
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


_INSTRUCTED = (  # the form of Mistral's template, for a system's message and a user's, as lists of texts
    "{{ bos_token }}{% for message in messages %}"
    "{% set mark = 'SYSTEM_PROMPT' if message['role'] == 'system' else 'INST' %}"
    "[{{ mark }}]{% for part in message['content'] %}{{ part['text'] }}{% endfor %}[/{{ mark }}]{% endfor %}"
)


def qwen_tokenizer() -> Any:
    """Make a Qwen tokenizer with a chat template whose tokens are single bytes: no vocabulary to download.

    >>> qwen_tokenizer()("horse")["input_ids"].__len__()
    5
    """
    from transformers import Qwen2Tokenizer

    vocabulary = {letter: i for i, letter in enumerate(sorted(byte_alphabet()))}
    special = ["<|im_start|>", "<|im_end|>"]
    options: dict[str, Any] = {"additional_special_tokens": special, "model_max_length": 4096, "chat_template": _CHAT}
    return Qwen2Tokenizer(vocab={**vocabulary, "<|endoftext|>": len(vocabulary)}, merges=[], **options)


def qwen3(path: str, config: Mapping[str, Any], *, full: bool = False) -> Any:
    """Build a Qwen3 of a class "library:Class" with random weights, 16 channels wide if not in full size."""
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
    small |= {"num_key_value_heads": 1, "head_dim": 8, "max_window_layers": 4, "vocab_size": 512}
    return network(path, config, {} if full else small)


def mistral(config: Mapping[str, Any], *, full: bool = False) -> Any:
    """Build a Mistral3ForConditionalGeneration with random weights, 16 channels wide if not in full size."""
    both = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "head_dim": 8}
    text = {**both, "num_hidden_layers": 4, "num_key_value_heads": 1, "vocab_size": 512}
    small = {"text_config": {**config["text_config"], **text}}
    small |= {"vision_config": {**config["vision_config"], **both, "num_hidden_layers": 1}}
    return network("transformers:Mistral3ForConditionalGeneration", config, {} if full else small)


def mistral_tokenizer() -> Any:
    """Make a Mistral tokenizer with a chat template whose tokens are single bytes: no vocabulary to download.

    >>> mistral_tokenizer()("horse", add_special_tokens=False)["input_ids"].__len__()
    5
    """
    from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[IMG]", "<pad>"]
    pieces = [*special, *sorted(byte_alphabet())]
    tokenizer = Tokenizer(BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_special_tokens(special)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    options: dict[str, Any] = {"padding_side": "left", "model_max_length": 4096, "chat_template": _INSTRUCTED, **names}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **options)


def flux2_autoencoder(config: Mapping[str, Any], *, full: bool = False) -> Any:
    """Build an AutoencoderKLFlux2 with random weights and statistics, with a few channels if not in full size."""
    small = {"block_out_channels": [16, 32, 32, 32], "layers_per_block": 1, "norm_num_groups": 8, "sample_size": 128}
    vae = network("diffusers:AutoencoderKLFlux2", config, {} if full else small)
    with seeded(1):  # unlike those that a network begins with
        vae.bn.running_mean.normal_(0, 0.1)
        vae.bn.running_var.uniform_(0.5, 2)
    return vae


def qwen_vl(config: Mapping[str, Any], *, full: bool = False) -> Any:
    """Build a Qwen2_5_VLForConditionalGeneration with random weights, 16 channels wide if not in full size."""
    text: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "max_window_layers": 2}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 512}
    text |= {"bos_token_id": None, "eos_token_id": None}
    text |= {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]}}
    sight = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    small = {half: {**config[half], **made} for half, made in (("text_config", text), ("vision_config", sight))}
    return network("transformers:Qwen2_5_VLForConditionalGeneration", config, {} if full else small)


def bert(config: Mapping[str, Any], *, full: bool = False) -> Any:
    """Build a BertModel with random weights, 32 channels wide if not in full size."""
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return network("transformers:BertModel", config, {} if full else {**small, "vocab_size": len(bert_tokenizer())})


def bert_tokenizer() -> Any:
    """Make a BERT tokenizer whose tokens are single letters: no vocabulary to download.

    >>> bert_tokenizer()("a cat")["input_ids"].__len__()
    6
    """
    from transformers import BertTokenizer

    letters = [chr(code) for code in range(33, 127)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=512)


def gemma(config: Mapping[str, Any], *, full: bool = False) -> Any:
    """Build a Gemma2Model with random weights, 32 channels wide if not in full size."""
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    small |= {"num_key_value_heads": 2, "head_dim": 8, "query_pre_attn_scalar": 8, "vocab_size": 128}
    return network("transformers:Gemma2Model", config, {} if full else small)


def gemma_tokenizer() -> Any:
    """Make a Gemma tokenizer whose tokens are single letters: no vocabulary to download.

    >>> gemma_tokenizer()("a cat")["input_ids"].__len__()
    6
    """
    from transformers import GemmaTokenizer

    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "\u2581", "\n", *(chr(code) for code in range(33, 127))]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    return GemmaTokenizer(vocab=vocabulary, merges=[], add_bos_token=True, model_max_length=8192)


def save_parts(parts: Mapping[str, Any], folder: Path) -> None:
    """Save parts as a diffusers folder in the published layout, each in a folder of its own name."""
    for name, part in parts.items():
        part.save_pretrained(folder / name)


def image_adapter(unet: Any, *, tokens: bool = False, width: int = 16) -> ImageAdapter:
    """Make an IP-Adapter with random weights for a UNet, and a small image encoder `width` wide; Plus with `tokens`.

    >>> image_adapter(network("diffusers:UNet2DConditionModel", {
    ...     "block_out_channels": [8, 8], "norm_num_groups": 4, "cross_attention_dim": 8, "attention_head_dim": 4,
    ...     "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    ...     "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"]})).tokens
    False
    """
    from diffusers.models.embeddings import ImageProjection, IPAdapterPlusImageProjection

    cross, side = int(unet.config.cross_attention_dim), 32
    encoder = network("transformers:CLIPVisionModelWithProjection", {
        "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": side, "patch_size": 8, "projection_dim": width,
    }).eval()  # fmt: skip
    with construction(), seeded(0):
        if tokens:
            made: Any = IPAdapterPlusImageProjection(
                embed_dims=width, output_dims=cross, hidden_dims=width, dim_head=64, heads=1, num_queries=4
            )
            projection = published_names(made.state_dict())
        else:
            made = ImageProjection(image_embed_dim=width, cross_attention_dim=cross, num_image_text_embeds=4)
            projection = {name.replace("image_embeds", "proj"): value for name, value in made.state_dict().items()}
        layers = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
        attention = {}
        for number, name in enumerate(layers):
            hidden = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
            for letter in "kv":
                key = f"{2 * number + 1}.to_{letter}_ip.weight"
                attention[key] = torch.randn(hidden, cross) / cross**0.5
    halves = {"image_proj": projection, "ip_adapter": attention}
    return ImageAdapter("twin", halves, encoder, image_processor(side), tokens)
