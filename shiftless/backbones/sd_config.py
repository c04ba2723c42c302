"""The configs of a Stable Diffusion folder: what each part's may hold, and how the parts must fit each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shiftless.conditions.config import AGAIN, Claim, Field, check_fields, check_weights, read_config
from shiftless.conditions.unet_config import check_unet, read_unet
from shiftless.errors import BadInput

_LEVELS = 8
_ANY_SIZE = Field(int, 1, 65536, null=True, many=2)
_TOKEN = Field(int, 0, 10**8, null=True, many=16)
_ACTIVATIONS = ("quick_gelu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "swish")
VAE = {
    "in_channels": Field(int, 3, 3, default=3),  # RGB
    "out_channels": Field(int, 3, 3, default=3),
    "block_out_channels": Field(int, 1, 16384, many=_LEVELS, only=True, default=[64]),
    "down_block_types": Field(str, many=_LEVELS, only=True, default=["DownEncoderBlock2D"]),
    "up_block_types": Field(str, many=_LEVELS, only=True, default=["UpDecoderBlock2D"]),
    "layers_per_block": Field(int, 1, 32, default=1),
    "latent_channels": Field(int, 1, 64, default=4),
    "norm_num_groups": Field(int, 1, 1024),
    "act_fn": Field(str, choices=("silu", "swish", "mish", "gelu", "relu")),
    "sample_size": _ANY_SIZE,
    "scaling_factor": Field(float, 1e-6, 1e6, default=0.18215),
    "shift_factor": Field(float, -1e6, 1e6, null=True),
    "force_upcast": Field(bool, null=True),
    "use_quant_conv": Field(bool),
    "use_post_quant_conv": Field(bool),
    "mid_block_add_attention": Field(bool),
}
TEXT_ENCODER = {
    "vocab_size": Field(int, 1, 10**7, default=49408),
    "hidden_size": Field(int, 1, 16384, default=512),
    "intermediate_size": Field(int, 1, 131072, default=2048),
    "num_hidden_layers": Field(int, 1, 256, default=12),
    "num_attention_heads": Field(int, 1, 1024, default=8),
    "max_position_embeddings": Field(int, 3, 65536, default=77),
    "projection_dim": Field(int, 0, 131072, null=True),
    "hidden_act": Field(str, choices=_ACTIVATIONS),
    "layer_norm_eps": Field(float, 0, 1),
    "attention_dropout": Field(float, 0, 1),
    "initializer_factor": Field(float, 0, 1000),
    "initializer_range": Field(float, 0, 1000),
    "bos_token_id": _TOKEN,
    "eos_token_id": Field(int, 0, 10**8),
    "pad_token_id": _TOKEN,
}
SCHEDULER = {
    "num_train_timesteps": Field(int, 1, 100_000, default=1000),
    "beta_start": Field(float, 0, 1),
    "beta_end": Field(float, 0, 1),
    "beta_schedule": Field(str, choices=("linear", "scaled_linear", "squaredcos_cap_v2")),
    "trained_betas": Field(float, 0, 1, null=True, many=100_000, only=True),
    "prediction_type": Field(str, choices=("epsilon", "v_prediction", "sample", "flow_prediction")),
    "rescale_betas_zero_snr": Field(bool, null=True),
}
TOKENIZER = {"model_max_length": Field(int, 3, 10**40, null=True)}  # transformers writes 10**30 for no limit


def read_vae(folder: Path, missing: str = "") -> dict[str, Any]:
    """Return the checked config of a folder's AutoencoderKL, with diffusers' defaults for what it lacks.

    missing  the message where there is no config.json

    Raises BadInput naming the field that is of another type, out of range, or does not fit the other fields.
    """
    path = folder / "config.json"
    config = check_fields(read_config(path, missing), VAE, path)
    levels = len(config["block_out_channels"])
    for name in ("down_block_types", "up_block_types"):
        if len(config[name]) != levels:
            counts = f"{len(config[name])} entries and 'block_out_channels' has {levels}"
            raise BadInput(f"{path}: '{name}' has {counts}; {AGAIN}")
    return config


def check_model(folder: Path) -> dict[str, Any]:
    """Check every config of a Stable Diffusion folder, against the weights' headers and against each other.

    Returns the text encoder's checked fields, from which it is to be built: transformers lets any field of a config
    change how a model behaves. Nothing is built here and no weight is read. Raises BadInput naming the file and the
    field that is wrong.
    """
    unet, vae = read_unet(folder / "unet"), read_vae(folder / "vae")
    text_path = folder / "text_encoder" / "config.json"
    text = check_fields(read_config(text_path), TEXT_ENCODER, text_path)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    check_fields(read_config(scheduler), SCHEDULER, scheduler)
    tokenizer = folder / "tokenizer" / "tokenizer_config.json"
    if tokenizer.is_file():  # a tokenizer's own defaults serve without one
        check_fields(read_config(tokenizer), TOKENIZER, tokenizer)
    unet_path = folder / "unet" / "config.json"
    for field, value, other, expected in (
        ("in_channels", unet["in_channels"], "the autoencoder's latents have", vae["latent_channels"]),
        ("out_channels", unet["out_channels"], "the autoencoder's latents have", vae["latent_channels"]),
        ("cross_attention_dim", unet["cross_attention_dim"], "the text encoder's width is", text["hidden_size"]),
    ):
        if value != expected:
            raise BadInput(
                f"{unet_path}: '{field}' is {value}, but {other} {expected}; give a Stable Diffusion 1 or 2 that makes "
                "images of text alone (not one for inpainting, upscaling or depth)"
            )
    check_unet(unet, folder / "unet")
    check_weights(_vae_claims(vae), folder / "vae", folder / "vae" / "config.json")
    check_weights(_text_claims(text), folder / "text_encoder", text_path)
    return {name: value for name, value in text.items() if name in TEXT_ENCODER}


def _vae_claims(config: Mapping[str, Any]) -> Iterator[Claim]:
    widths, layers = config["block_out_channels"], config["layers_per_block"]
    yield Claim("latent_channels", "decoder.conv_in.weight", config["latent_channels"], 1)
    for half, list_name, kinds, sizes, more in (
        ("encoder", "down_blocks", "down_block_types", widths, 0),
        ("decoder", "up_blocks", "up_block_types", widths[::-1], 1),
    ):
        yield Claim("block_out_channels", f"{half}.conv_in.weight", sizes[0], 0)
        yield Claim(kinds, f"{half}.{list_name}", len(config[kinds]))
        for level, width in enumerate(sizes):
            block = f"{half}.{list_name}.{level}.resnets"
            yield Claim("layers_per_block", block, layers + more)
            yield Claim("block_out_channels", f"{block}.0.conv2.weight", width, 0)


def _text_claims(config: Mapping[str, Any]) -> Iterator[Claim]:
    yield Claim("vocab_size", "embeddings.token_embedding.weight", config["vocab_size"], 0)
    yield Claim("hidden_size", "embeddings.token_embedding.weight", config["hidden_size"], 1)
    positions = config["max_position_embeddings"]
    yield Claim("max_position_embeddings", "embeddings.position_embedding.weight", positions, 0)
    yield Claim("num_hidden_layers", "encoder.layers", config["num_hidden_layers"])
    yield Claim("intermediate_size", "encoder.layers.0.mlp.fc1.weight", config["intermediate_size"], 0)


def check_tokenizer(tokenizer: Any, encoder: Any, folder: Path) -> None:
    """Check that every token of a tokenizer has an embedding, and that a prompt can be started, ended and padded.

    A tokenizer that allows longer texts than the encoder has positions is shortened to them. Raises BadInput.
    """
    size, positions = int(encoder.config.vocab_size), int(encoder.config.max_position_embeddings)
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= size:
        raise BadInput(f"{folder}: token {largest} has no embedding, the text encoder has {size}; {AGAIN}")
    for name in ("bos_token", "eos_token", "pad_token"):
        if not isinstance(getattr(tokenizer, f"{name}_id", None), int):
            raise BadInput(f"{folder}: the tokenizer has no {name}; {AGAIN}")
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
