"""Lumina-Image 2: Lumina2Transformer2DModel + AutoencoderKL + Gemma 2, as diffusers ships them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from shiftless.backbones.joint_layout import JointLayout, turned
from shiftless.backbones.latent_model import LatentModel
from shiftless.backbones.random_parts import autoencoder, gemma, gemma_tokenizer, network
from shiftless.backbones.transformer_taps import joint_taps, map_groups
from shiftless.conditions.condition import Condition
from shiftless.conditions.gemma import encode_behind
from shiftless.taps.attention import weights_of_keys
from shiftless.taps.names import Tap

_TOKENS = 256  # of a prompt and its instruction, as in diffusers' pipeline; padding is left out of the sequence
_INSTRUCTION = (  # that the model was trained with
    "You are an assistant designed to generate superior images with the superior degree of image-text alignment based "
    "on textual prompts or user prompts. <Prompt Start> "
)


class RaggedLayout(JointLayout):
    """The layout of Lumina 2: in each row the text's own tokens, as many as it has, and behind them the image's.

    lengths  how many tokens of text each row has      tokens  how many a condition has, padding included

    >>> row = torch.arange(6).reshape(1, 6, 1)  # two words, two cells of the image, and padding
    >>> RaggedLayout((16, 32), [2], 5).to_map(Tap("block0", 1, 16, "layers.0"), row)
    tensor([[[[2, 3]]]])
    """

    def __init__(self, fed: tuple[int, int] = (0, 0), lengths: Sequence[int] = (), tokens: int = 0) -> None:
        super().__init__(fed)
        self.lengths, self.tokens = lengths, tokens

    def unfold(self, tap: Tap, tokens: torch.Tensor) -> torch.Tensor:
        """B N C, of which each row has its own text -> B C H W."""
        lengths = [0] * len(tokens) if tap.module.startswith("noise_refiner") else self.lengths
        cells = self._cells(tap)
        return super().unfold(tap, torch.stack([row[n : n + cells] for row, n in zip(tokens, lengths, strict=True)]))

    def projections(self, tap: Tap) -> tuple[str, ...]:
        """Queries and keys, which text and image share."""
        return ("to_q", "to_k")

    def attention(
        self, tap: Tap, layer: nn.Module, projected: Mapping[str, torch.Tensor], call: Mapping[str, Any]
    ) -> torch.Tensor:
        """Return how much each cell of the image looks at the text's tokens or at the image's, as `tap.block` says."""
        net: Any = layer
        query = net.norm_q(projected["to_q"].unflatten(2, (net.heads, -1)))
        key = net.norm_k(projected["to_k"].unflatten(2, (-1, query.shape[-1])))  # shared by several heads
        key = key.repeat_interleave(net.heads // key.shape[2], 2)
        rotary, cells = call["image_rotary_emb"][:, None], self._cells(tap)
        query, key = turned(query.transpose(1, 2), rotary), turned(key.transpose(1, 2), rotary)
        rows = []
        for i, n in enumerate(self.lengths):
            ends = slice(n, n + cells)
            shown, more = (ends, 0) if tap.block == "image" else (slice(0, n), self.tokens - n)
            options: dict[str, Any] = {"per_head": tap.kind == "heads", "shown": shown}
            row = weights_of_keys(query[i : i + 1, :, ends], key[i : i + 1, :, : n + cells], net.scale, **options)
            each = row.unflatten(1, (net.heads if tap.kind == "heads" else 1, -1))
            rows.append(pad(each, (0, 0, 0, more)).flatten(1, 2))
        return torch.cat(rows).unflatten(2, self.grid(tap))


class Lumina2(LatentModel):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    "refiner0" and "refiner1" see the image alone, before "block0" to "block25" see text and image in one sequence. The
    network is told the share of the image, and gives the negative of the flow. A prompt is read behind the instruction
    that diffusers' Lumina2Pipeline puts before prompts, and "" without it, as that pipeline reads its negative prompt.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:lumina2", dtype="fp32")
    >>> condition = model.encode_prompt(["a horse"])
    >>> taps = [tap for tap in model.taps if tap.name in ("block1", "block1.self.q")]
    >>> model.denoise(torch.zeros(1, 16, 8, 16), 50, condition, taps).maps["block1"].shape
    torch.Size([1, 48, 4, 8])
    """

    FAMILY = "lumina2"
    TINY = "madebyollin/taef1"
    PARTS = {  # noqa: RUF012
        "transformer": "diffusers:Lumina2Transformer2DModel",
        "vae": "diffusers:AutoencoderKL",
        "text_encoder": "transformers:Gemma2Model",
        "tokenizer": "transformers:GemmaTokenizer",
        "scheduler": "diffusers:FlowMatchEulerDiscreteScheduler",
    }
    TECHNIQUES = ("prompt", "lora", "start")

    @classmethod
    def list_taps(cls, configs: Mapping[str, Mapping[str, Any]]) -> tuple[Tap, ...]:
        """List the taps of every block and the means of their attention maps."""
        config, vae = configs["transformer"], configs["vae"]
        width, stride = config["hidden_size"], 2 ** (len(vae["block_out_channels"]) - 1) * config["patch_size"]
        taps = [Tap(f"refiner{i}", width, stride, f"noise_refiner.{i}") for i in range(config["num_refiner_layers"])]
        whole, widened = config["multiple_of"], int(4 * width * (config.get("ffn_dim_multiplier") or 1))
        inside: dict[str, Any] = {"inner": "feed_forward.linear_2", "inner_side": "in"}
        inside["widen"] = -(-widened // whole) * whole / width
        inside["key_width"] = width // config["num_attention_heads"] * config["num_kv_heads"]
        for i in range(config["num_layers"]):
            taps += joint_taps(f"block{i}", f"layers.{i}", width, stride, **inside)
        return (*taps, *map_groups(taps))

    @classmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build every part with random weights, tiny or in full size."""
        small: dict[str, Any] = {"hidden_size": 48, "num_layers": 2, "num_refiner_layers": 1, "num_attention_heads": 3}
        small |= {
            "num_kv_heads": 1,
            "multiple_of": 16,
            "axes_dim_rope": [4, 6, 6],
            "cap_feat_dim": 32,
            "sample_size": 16,
        }
        return {
            "transformer": network(cls.PARTS["transformer"], row["transformer"], {} if full else small),
            "vae": autoencoder(row["vae"], full=full),
            "text_encoder": gemma(row["text_encoder"], full=full),
            "tokenizer": gemma_tokenizer(),
            "scheduler": network(cls.PARTS["scheduler"], row["scheduler"]),
        }

    def _layout(self, fed: tuple[int, int], condition: Condition) -> RaggedLayout:
        mask = condition.extra["mask"]
        return RaggedLayout(fed, mask.sum(1).tolist(), mask.shape[1])

    def _encode(self, prompt: str) -> Condition:
        tokenizer, encoder = self.tokenizers["tokenizer"], self.networks["text_encoder"]
        return encode_behind(tokenizer, encoder, prompt, _TOKENS, _INSTRUCTION if prompt.strip() else "")

    def _predict(self, latent: torch.Tensor, timestep: int, condition: Condition) -> torch.Tensor:
        told = torch.full((len(latent),), 1 - timestep / 1000, device=self.device)
        texts = {"encoder_hidden_states": condition.embeds, "encoder_attention_mask": condition.extra["mask"]}
        output: torch.Tensor = self.denoiser(latent, timestep=told, return_dict=False, **texts)[0]
        return -output

    def _native_size(self, name: str) -> int:
        return int(self.denoiser.config.sample_size) * self._stride
