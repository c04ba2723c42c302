"""The configs of a Stable Diffusion folder: what each part's may hold, and how the parts must fit each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from shiftless.conditions.config import AGAIN, Claim, Field, check_fields, check_weights, read_config
from shiftless.conditions.inpaint import channels_of
from shiftless.conditions.unet_config import SDXL_UNET, UNET, check_unet, read_unet
from shiftless.errors import BadInput

_LEVELS = 8
_SIZES = 6  # that SDXL is told: original height and width, top and left of the crop, target height and width
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
    "num_hidden_layers": Field(int, 0, 256, default=12),
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


def check_model(
    folder: Path,
    encoders: Sequence[str] = ("text_encoder",),
    fields: Mapping[str, Field] = UNET,
    models: str = "Stable Diffusion 1 or 2",
    *,
    denoiser: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, Any]]:
    """Check every config of a Stable Diffusion folder, against the weights' headers and against each other.

    encoders  the parts that encode prompts, whose widths add up      fields  of the UNet's config
    models    what the folder should hold, for messages
    denoiser  the config of a UNet that lies elsewhere; by default that of the folder

    Returns each text encoder's checked fields, from which it is to be built: transformers lets any field of a config
    change how a model behaves. Nothing is built here and no weight is read. Raises BadInput naming the file and the
    field that is wrong.
    """
    unet = read_unet(folder / "unet", fields=fields) if denoiser is None else denoiser
    vae, texts = read_vae(folder / "vae"), {}
    for part in encoders:
        path = folder / part / "config.json"
        texts[part] = check_fields(read_config(path), TEXT_ENCODER, path)
        tokenizer = folder / part.replace("text_encoder", "tokenizer") / "tokenizer_config.json"
        if tokenizer.is_file():  # a tokenizer's own defaults serve without one
            check_fields(read_config(tokenizer), TOKENIZER, tokenizer)
    width = sum(text["hidden_size"] for text in texts.values())
    whose = "the text encoder's width is" if len(texts) == 1 else "the text encoders' widths add up to"
    scheduler = folder / "scheduler" / "scheduler_config.json"
    check_fields(read_config(scheduler), SCHEDULER, scheduler)
    unet_path = folder / "unet" / "config.json"
    latent = vae["latent_channels"]
    takes = channels_of(latent) if unet["in_channels"] == channels_of(latent) else latent
    for field, value, other, expected in (
        ("in_channels", unet["in_channels"], "the autoencoder's latents have", takes),
        ("out_channels", unet["out_channels"], "the autoencoder's latents have", latent),
        ("cross_attention_dim", unet["cross_attention_dim"], whose, width),
    ):
        if value != expected:
            raise BadInput(
                f"{unet_path}: '{field}' is {value}, but {other} {expected}; give a {models} that makes images of "
                "text alone, or one for inpainting (not one for upscaling, depth or instructions)"
            )
    if denoiser is None:
        check_unet(unet, folder / "unet")
    check_weights(_vae_claims(vae), folder / "vae", folder / "vae" / "config.json")
    for part, text in texts.items():
        check_weights(_text_claims(text), folder / part, folder / part / "config.json")
    return {part: {n: value for n, value in text.items() if n in TEXT_ENCODER} for part, text in texts.items()}


def check_told(folder: Path) -> None:
    """Refuse models of SDXL's shape whose UNet is told other things: SDXL's refiner, and models trained with EDM.

    Playground v2.5 is of the latter: its network is told log(sigma) / 4 and given a scaled latent (Karras et al. 2022),
    which no schedule of betas describes. Raises BadInput naming the file.
    """
    path, encoder = folder / "unet" / "config.json", folder / "text_encoder_2" / "config.json"
    scheduler = folder / "scheduler" / "scheduler_config.json"
    if path.is_file() and encoder.is_file():
        unet, text = read_unet(path.parent, fields=SDXL_UNET), check_fields(read_config(encoder), TEXT_ENCODER, encoder)
        given = unet.get("projection_class_embeddings_input_dim")
        needed = _SIZES * (unet.get("addition_time_embed_dim") or 0) + (text.get("projection_dim") or 0)
        if given != needed:
            raise BadInput(
                f"{path}: 'projection_class_embeddings_input_dim' is {given}, but a pooled prompt and {_SIZES} sizes "
                f"make {needed}; give a Stable Diffusion XL base model (not a refiner)"
            )
    kind = str(read_config(scheduler).get("_class_name", "")) if scheduler.is_file() else ""
    if kind.startswith("EDM"):
        raise BadInput(
            f"{scheduler}: the {kind} of a model trained with EDM's preconditioning, such as Playground v2.5, which is "
            "not read here; take sdxl or playground-v2"
        )


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
    if config["num_hidden_layers"]:  # without layers the embeddings are the prompt
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
