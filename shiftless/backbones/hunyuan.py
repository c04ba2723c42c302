"""HunyuanDiT: HunyuanDiT2DModel + AutoencoderKL + a bilingual BERT + mT5, as diffusers ships them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from shiftless.backbones.latent_model import LatentModel
from shiftless.backbones.random_parts import autoencoder, bert, bert_tokenizer, network, t5, t5_tokenizer
from shiftless.backbones.transformer_taps import all_block_taps
from shiftless.conditions.bert import encode_with_bert
from shiftless.conditions.condition import Condition
from shiftless.conditions.t5 import encode_with_t5
from shiftless.errors import BadInput
from shiftless.taps.attention import weights_of_keys
from shiftless.taps.layout import Layout
from shiftless.taps.names import Tap

_ROTARY_PIXELS = 512  # the image whose positions the rotary embedding spans, whatever the size
_ORIGINAL = (1024, 1024)  # the size that diffusers' pipeline says the image had, to networks that are told it


class HunyuanLayout(Layout):
    """Queries and keys are normed, then rotated: both in self-attention, in cross-attention the image's queries."""

    def attention(
        self, tap: Tap, layer: nn.Module, projected: Mapping[str, torch.Tensor], call: Mapping[str, Any]
    ) -> torch.Tensor:
        """Return an attention map B T H W (T for each head, if the tap is of heads), float32."""
        from diffusers.models.embeddings import apply_rotary_emb

        net: Any = layer
        split = [projected[name].unflatten(2, (net.heads, -1)).transpose(1, 2) for name in ("to_q", "to_k")]
        query, key = net.norm_q(split[0]), net.norm_k(split[1])
        query = apply_rotary_emb(query, call["image_rotary_emb"])
        if not net.is_cross_attention:
            key = apply_rotary_emb(key, call["image_rotary_emb"])
        value = weights_of_keys(query, key, query.shape[-1] ** -0.5, per_head=tap.kind == "heads")
        return value.unflatten(2, self.grid(tap))


class HunyuanDiT(LatentModel):
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    A cross map has a channel for each of BERT's 77 tokens, then for each of mT5's 256; a word's map is the mean over
    both. Padding is seen by the network, as a learned token. The network is told the timestep as it is, 0 to 999,
    also in half precision, which diffusers' pipeline rounds. Versions up to 1.1 are told the size of the image.
    The input of a block in the second half, such as "block25.in", is what the long skip has been joined to.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:hunyuan-dit", dtype="fp32")
    >>> condition = model.encode_prompt(["a horse"], size=(64, 128))
    >>> taps = [tap for tap in model.taps if tap.name in ("block1", "block1.cross.map")]
    >>> [tuple(value.shape) for value in model.denoise(torch.zeros(1, 4, 8, 16), 50, condition, taps).maps.values()]
    [(1, 333, 4, 8), (1, 32, 4, 8)]
    """

    FAMILY = "hunyuan-dit"
    TINY = "madebyollin/taesdxl"
    PARTS = {  # noqa: RUF012
        "transformer": "diffusers:HunyuanDiT2DModel",
        "vae": "diffusers:AutoencoderKL",
        "text_encoder": "transformers:BertModel",
        "tokenizer": "transformers:BertTokenizer",
        "text_encoder_2": "transformers:T5EncoderModel",
        "tokenizer_2": "transformers:T5Tokenizer",
        "scheduler": "diffusers:DDPMScheduler",
    }
    LAYOUT = HunyuanLayout
    TEXT_ENCODERS = ("text_encoder", "text_encoder_2")

    @classmethod
    def list_taps(cls, configs: Mapping[str, Mapping[str, Any]]) -> tuple[Tap, ...]:
        """List the taps of every transformer block, "block0" to "block39", and the means of their attention maps."""
        options: dict[str, Any] = {"modulation": ("{}.norm1.linear", "{}.norm1.norm"), "entry": "{}.norm1"}
        return all_block_taps(configs, "blocks", widen=configs["transformer"]["mlp_ratio"], **options)

    @classmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build every part with random weights, tiny or in full size."""
        small = {"num_attention_heads": 4, "attention_head_dim": 8, "num_layers": 4, "hidden_size": 32}
        small |= {"cross_attention_dim": 32, "cross_attention_dim_t5": 32, "pooled_projection_dim": 16}
        small |= {"sample_size": 16}
        return {
            "transformer": network(cls.PARTS["transformer"], row["transformer"], {} if full else small),
            "vae": autoencoder(row["vae"], full=full),
            "text_encoder": bert(row["text_encoder"], full=full),
            "tokenizer": bert_tokenizer(),
            "text_encoder_2": t5(row["text_encoder_2"], full=full),
            "tokenizer_2": t5_tokenizer(),
            "scheduler": network(cls.PARTS["scheduler"], row["scheduler"]),
        }

    def _encode(self, prompt: str) -> Condition:
        config, networks = self.denoiser.config, self.networks
        first = encode_with_bert(self.tokenizers["tokenizer"], networks["text_encoder"], prompt, config.text_len)
        tokens = config.text_len_t5
        second = encode_with_t5(self.tokenizers["tokenizer_2"], networks["text_encoder_2"], prompt, tokens)
        assert second.embeds is not None
        if second.embeds.shape[1] > tokens:
            has = int(second.extra["mask"].sum())
            raise BadInput(f"{self.spec.name}: takes {tokens} tokens of text, and the prompt has {has}; shorten it")
        extra = {**first.extra, "t5": second.embeds, "t5_mask": second.extra["mask"]}
        return replace(first, words=(first.words[0] + second.words[0],), extra=extra)

    def _sized(self, condition: Condition, size: tuple[int, int]) -> Condition:
        told = torch.tensor([[*_ORIGINAL, *size, 0, 0]], device=self.device, dtype=self.dtype)
        return replace(condition, extra={**condition.extra, "size": told})

    def _predict(self, latent: torch.Tensor, timestep: int, condition: Condition) -> torch.Tensor:
        extra, count = condition.extra, len(latent)
        exact = torch.full((count,), timestep, device=self.device)
        told = self.denoiser.time_extra_emb.time_proj.register_forward_pre_hook(lambda _module, _inputs: (exact,))
        try:
            output: torch.Tensor = self.denoiser(
                latent,
                exact.to(self.dtype),  # its dtype is what the embeddings are computed in
                encoder_hidden_states=condition.embeds,
                text_embedding_mask=extra["mask"],
                encoder_hidden_states_t5=extra["t5"],
                text_embedding_mask_t5=extra["t5_mask"],
                image_meta_size=extra["size"],
                style=torch.zeros(count, device=self.device, dtype=torch.long),
                image_rotary_emb=self._rotary(latent),
                return_dict=False,
            )[0]
        finally:
            told.remove()
        return output[:, : latent.shape[1]]  # the other half is a variance, which DDIM does not use

    def _rotary(self, latent: torch.Tensor) -> Any:
        """The rotary embedding of an image's tokens, as diffusers' pipeline computes it: (cosines, sines), N d each."""
        from diffusers.models.embeddings import get_2d_rotary_pos_embed

        config = self.denoiser.config
        base = _ROTARY_PIXELS // self._stride // config.patch_size
        grid = latent.shape[2] // config.patch_size, latent.shape[3] // config.patch_size
        spans = [round(base / max(grid) * side) for side in grid]  # the longer side spans all, the other is centred
        starts = [round((base - span) / 2) for span in spans]
        region = starts, [start + span for start, span in zip(starts, spans)]
        return get_2d_rotary_pos_embed(config.attention_head_dim, region, grid, device=self.device, output_type="pt")

    def _native_size(self, name: str) -> int:
        return int(self.denoiser.config.sample_size) * self._stride
