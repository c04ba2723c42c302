"""Z-Image: ZImageTransformer2DModel + AutoencoderKL + Qwen3, as diffusers ships them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from shiftless.backbones.joint_layout import JointLayout, turned
from shiftless.backbones.latent_model import LatentModel
from shiftless.backbones.parts import check_chat_template
from shiftless.backbones.random_parts import autoencoder, network, qwen3, qwen_tokenizer
from shiftless.backbones.transformer_taps import joint_taps, map_groups
from shiftless.conditions.chat_prompt import encode_masked_chat
from shiftless.conditions.condition import Condition
from shiftless.taps.attention import weights_of_keys
from shiftless.taps.names import Tap

_TOKENS = 512  # of a prompt at most, as in diffusers' pipeline
_MULTIPLE = 128  # conditions have a multiple of it of tokens, so that prompts share batches
_TOGETHER = 32  # the network pads the image's tokens, and the text's, to a multiple of it
_PATCH = 2


class LeadingLayout(JointLayout):
    """The layout of Z-Image: the image's tokens stand first, padded, and behind them those of the text, padded."""

    def unfold(self, tap: Tap, tokens: torch.Tensor) -> torch.Tensor:
        """B N C, the image's tokens first -> B C H W."""
        return super().unfold(tap, tokens[:, : self._cells(tap)])

    def projections(self, tap: Tap) -> tuple[str, ...]:
        """Queries and keys, which text and image share."""
        return ("to_q", "to_k")

    def bias(self, key: torch.Tensor, call: Mapping[str, Any]) -> torch.Tensor | None:
        """Return what is added to the scores of each key, B 1 N: -inf where a row of the batch has no token."""
        seen = call["attention_mask"]
        if seen is None:
            return None
        return torch.zeros(seen.shape, device=key.device).masked_fill(~seen, -torch.inf)[:, None]

    def attention(
        self, tap: Tap, layer: nn.Module, projected: Mapping[str, torch.Tensor], call: Mapping[str, Any]
    ) -> torch.Tensor:
        """Return how much each cell of the image looks at the text's tokens or at the image's, as `tap.block` says."""
        query, key = self.queries_and_keys(tap, layer, projected)
        cells, rotary = self._cells(tap), call["freqs_cis"][:, None]
        query, key = turned(query[:, :, :cells], rotary[:, :, :cells]), turned(key, rotary)
        options: dict[str, Any] = {"per_head": tap.kind == "heads", "bias": self.bias(key, call)}
        options["shown"] = slice(0, cells) if tap.block == "image" else slice(cells + -cells % _TOGETHER, None)
        value = weights_of_keys(query, key, query.shape[-1] ** -0.5, **options)
        if tap.block == "text":  # a column for each token of the condition
            value = value.unflatten(1, (query.shape[1] if tap.kind == "heads" else 1, -1))
            value = pad(value, (0, 0, 0, -value.shape[2] % _MULTIPLE)).flatten(1, 2)
        return value.unflatten(2, self.grid(tap))


class ZImage(LatentModel):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    "refiner0" and "refiner1" see the image alone, before "block0" to "block29" see text and image in one sequence. The
    network is told the share of the image, and gives the negative of the flow. It pads both with learned tokens, which
    take a part of the attention that no map shows.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:z-image-turbo", dtype="fp32")
    >>> condition = model.encode_prompt(["a horse"])
    >>> taps = [tap for tap in model.taps if tap.name in ("block1", "block1.self.q")]
    >>> model.denoise(torch.zeros(1, 16, 8, 16), 50, condition, taps).maps["block1"].shape
    torch.Size([1, 48, 4, 8])
    """

    FAMILY = "z-image"
    TINY = "madebyollin/taef1"
    PARTS = {  # noqa: RUF012
        "transformer": "diffusers:ZImageTransformer2DModel",
        "vae": "diffusers:AutoencoderKL",
        "text_encoder": "transformers:Qwen3Model",
        "tokenizer": "transformers:Qwen2Tokenizer",
        "scheduler": "diffusers:FlowMatchEulerDiscreteScheduler",
    }
    LAYOUT = LeadingLayout
    TECHNIQUES = ("prompt", "lora", "start")

    @classmethod
    def list_taps(cls, configs: Mapping[str, Mapping[str, Any]]) -> tuple[Tap, ...]:
        """List the taps of every block and the means of their attention maps."""
        config, vae = configs["transformer"], configs["vae"]
        width, stride = config["dim"], 2 ** (len(vae["block_out_channels"]) - 1) * _PATCH
        taps = [Tap(f"refiner{i}", width, stride, f"noise_refiner.{i}") for i in range(config["n_refiner_layers"])]
        inside: dict[str, Any] = {
            "attention": "attention",
            "inner": "feed_forward.w2",
            "inner_side": "in",
            "widen": 8 / 3,
        }
        for i in range(config["n_layers"]):
            taps += joint_taps(f"block{i}", f"layers.{i}", width, stride, **inside)
        return (*taps, *map_groups(taps))

    @classmethod
    def read_parts(cls, folder: Path, dtype: torch.dtype | None = None) -> dict[str, Any]:
        """Load every part of a folder; raises BadInput naming the part that is missing or broken."""
        return check_chat_template(super().read_parts(folder, dtype), folder)

    @classmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build every part with random weights, tiny or in full size."""
        small: dict[str, Any] = {"dim": 48, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 3, "n_kv_heads": 3}
        small |= {"cap_feat_dim": 16, "axes_dims": [4, 6, 6]}
        return {
            "transformer": network(cls.PARTS["transformer"], row["transformer"], {} if full else small),
            "vae": autoencoder({**row["vae"], **({} if full else {"sample_size": 128})}, full=full),
            "text_encoder": qwen3(cls.PARTS["text_encoder"], row["text_encoder"], full=full),
            "tokenizer": qwen_tokenizer(),
            "scheduler": network(cls.PARTS["scheduler"], row["scheduler"]),
        }

    def _encode(self, prompt: str) -> Condition:
        options = {"add_generation_prompt": True, "enable_thinking": True}
        tokenizer, encoder = self.tokenizers["tokenizer"], self.networks["text_encoder"]
        return encode_masked_chat(tokenizer, encoder, prompt, options, layer=-2, multiple=_MULTIPLE, most=_TOKENS)

    def _predict(self, latent: torch.Tensor, timestep: int, condition: Condition) -> torch.Tensor:
        assert condition.embeds is not None
        mask = condition.extra["mask"].bool()
        told = torch.full((len(latent),), 1 - timestep / 1000, device=self.device)
        texts = [embeds[own] for embeds, own in zip(condition.embeds, mask)]
        output = self.denoiser(list(latent[:, :, None]), told, texts, return_dict=False)[0]
        return -torch.stack(list(output))[:, :, 0]

    def _native_size(self, name: str) -> int:
        return int(self.vae.config.sample_size)
