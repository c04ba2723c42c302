"""Training of the captioner: a drawn picture in, its fine caption out."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    CLIPTokenizer,
    GPT2Config,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
)

from miniworld.oracle import load_oracle
from miniworld.training.attention import use_fast_attention
from miniworld.training.batches import Batch
from miniworld.training.captioned import LENGTH, CaptionedPictures
from miniworld.training.checkpoint import save_half, save_preprocessor
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.run import Numbers
from miniworld.training.stage import Stage
from miniworld.training.tokenizer import new_tokenizer, save_tokenizer

NAME = "captioner"
"""The captioner's folder, beside the parts of the pipeline."""
SIZE = 128
"""Pixels a side that it sees; other pictures are resized to this."""
N_PICTURES = 60_000
"""How many pictures a run draws for itself."""

ENCODER: dict[str, Any] = {
    "num_encoder_blocks": 3,
    "depths": (1, 2, 4),
    "hidden_sizes": (48, 96, 192),
    "patch_sizes": (7, 3, 3),
    "strides": (4, 2, 2),
    "sr_ratios": (4, 2, 1),
    "num_attention_heads": (1, 2, 3),
    "mlp_ratios": (4, 4, 4),
    "drop_path_rate": 0.0,
    "reshape_last_stage": False,  # B N C, which is what a text decoder attends to
}
"""A small SegFormer (Xie et al. 2021): its convolutions learn from few pictures, at half the cost of plain patches."""

DECODER: dict[str, Any] = {
    "n_positions": LENGTH,
    "n_embd": 192,
    "n_layer": 3,
    "n_head": 3,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "activation_function": "gelu",  # one kernel; GPT-2's own is eight
}
"""A small GPT-2 over the embedded model's own words."""


def new_captioner(tokenizer: Any, seed: int = 0, **changes: Any) -> VisionEncoderDecoderModel:
    """Build the captioner with random weights: pixels B 3 H W in [-1, 1] and B T tokens to B T scores of every word.

    `changes` are values of `ENCODER` or `DECODER` to replace.
    """
    torch.manual_seed(seed)
    encoder = {**ENCODER, **{key: value for key, value in changes.items() if key in ENCODER}}
    decoder = {**DECODER, **{key: value for key, value in changes.items() if key in DECODER}}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    special = {**ends, "pad_token_id": tokenizer.pad_token_id, "decoder_start_token_id": tokenizer.bos_token_id}
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        SegformerConfig(**encoder, hidden_size=encoder["hidden_sizes"][-1]),  # the name that the joint class looks for
        GPT2Config(**decoder, **ends, vocab_size=len(tokenizer), is_decoder=True, add_cross_attention=True),
        **special,
    )
    model = VisionEncoderDecoderModel(config)
    for key, value in (*special.items(), ("max_length", LENGTH)):
        setattr(model.generation_config, key, value)
    begin_depthwise(model.encoder)
    return model


def captioner_on(
    oracle: SegformerForSemanticSegmentation, tokenizer: Any, seed: int = 0, **changes: Any
) -> VisionEncoderDecoderModel:
    """Build a captioner whose encoder is an oracle's, which knows kinds, parts and places; all else is random.

    `changes` are values of `DECODER` to replace.
    """
    shape = {key: getattr(oracle.config, key) for key in ENCODER if key != "reshape_last_stage"}
    model = new_captioner(tokenizer, seed, **{**changes, **shape})
    model.encoder.load_state_dict(oracle.segformer.state_dict())
    return model


def begin_depthwise(network: nn.Module) -> None:
    """Draw a SegFormer's depthwise weights as its own code does; the library's default is 24 times smaller."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels:
            nn.init.normal_(module.weight, std=(2 / 9) ** 0.5)


class ExactLayerNorm(nn.LayerNorm):
    """Layer norm computed in float32, whatever its input: torch sums its bfloat16 gradient in bfloat16.

    Over the 32 thousand tokens of a batch such a sum loses half of its length.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise B N C over C."""
        return super().forward(x.float()).to(x.dtype)


def use_exact_norms(network: nn.Module) -> None:
    """Turn every layer norm of a network into an exact one, its own weights in float32, in place.

    >>> norm = nn.Sequential(nn.LayerNorm(4)).bfloat16()
    >>> use_exact_norms(norm)
    >>> norm(torch.ones(1, 2, 4, dtype=torch.bfloat16)).dtype, norm[0].weight.dtype
    (torch.bfloat16, torch.float32)
    """
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.__class__ = ExactLayerNorm
            module.float()


class CaptionLoss(nn.Module):
    """A captioner with its training loss, in one graph that compiles."""

    def __init__(self, model: VisionEncoderDecoderModel, end: int) -> None:
        super().__init__()
        self.model, self.end = model, end

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Give (cross-entropy a token, share of right tokens) of pictures B H W 3 uint8 and tokens B L.

        What follows a caption's end is padding and does not count.
        """
        pixels = (images.permute(0, 3, 1, 2).float() / 127.5 - 1).to(next(self.model.parameters()).dtype)
        shown, targets = tokens[:, :-1], tokens[:, 1:]
        targets = torch.where(shown == self.end, -100, targets)
        scores = self.model(pixel_values=pixels, decoder_input_ids=shown, use_cache=False).logits.float()
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=-100)
        counted = (targets != -100).sum()
        return loss, ((scores.argmax(-1) == targets).sum() / counted).detach()


def train_captioner(
    stage: Stage,
    *,
    start_from: str | Path | None = None,
    batch: int = 32,
    lr: float = 1e-3,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Train the captioner and write it to `captioner` in the run's folder.

    `start_from` is a captioner's folder, or a pipeline's that has one, to train further; or an oracle's
    (`miniworld.oracle`), whose encoder a new captioner begins with.
    """
    tokenizer, model = _networks(start_from, stage.seed, changes or {})
    with stage.begin(NAME):
        data = CaptionedPictures(stage.picture_folder(N_PICTURES), tokenizer)
        network = CaptionLoss(model, tokenizer.eos_token_id).train().to(stage.device)
        use_fast_attention(model)
        optimiser = Fp32MasterAdamW(network.parameters(), dtype=stage.dtype, weight_decay=0.01, ema_max=0.999)
        use_exact_norms(network)
        run = stage.run(optimiser, lr)

        def batch_of(number: int) -> Batch:
            return data.batch(batch, stage.seed, number)

        def step(number: int, _: float) -> tuple[Tensor, int, Numbers]:
            loss, right = loss_of(*batches(number))
            return loss, batch, {"right": right}

        loss_of, batches = stage.compiled(network, batch_of(0)), stage.batches(batch_of)
        stage.ready(network, len(data))
        run.go(step)
        return stage.write(optimiser, lambda path: save_captioner(path, model, tokenizer))


def save_captioner(folder: str | Path, model: VisionEncoderDecoderModel, tokenizer: Any) -> None:
    """Write a folder that plain `VisionEncoderDecoderModel.from_pretrained` loads, in float16 safetensors."""
    folder = Path(folder)
    save_half(deepcopy(model), folder)
    save_tokenizer(tokenizer, folder)
    half = [0.5, 0.5, 0.5]
    save_preprocessor(folder, "ViTImageProcessor", SIZE, half, half)


def captioner_folder(given: str | Path) -> Path:
    """Return the captioner's folder: the one given, or the one that lies in it."""
    inner = Path(given) / NAME
    return inner if inner.is_dir() else Path(given)


def _networks(start_from: str | Path | None, seed: int, changes: dict[str, Any]) -> tuple[Any, Any]:
    if start_from is None:
        tokenizer = new_tokenizer()
        return tokenizer, new_captioner(tokenizer, seed, **changes)
    if _is_oracle(Path(start_from)):
        tokenizer = new_tokenizer()
        return tokenizer, captioner_on(load_oracle(start_from).network, tokenizer, seed, **changes)
    folder = captioner_folder(start_from)
    return (
        CLIPTokenizer.from_pretrained(folder),
        VisionEncoderDecoderModel.from_pretrained(folder, torch_dtype=torch.float32),
    )


def _is_oracle(folder: Path) -> bool:
    file = folder / "config.json"
    return file.is_file() and SegformerForSemanticSegmentation.__name__ in file.read_text("utf-8")
