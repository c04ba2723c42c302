"""Grow a trained denoiser: more transformer blocks, another text encoder, another vocabulary."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel

from shiftless.errors import BadInput

_WRITES = ("attn1.to_out.0", "attn2.to_out.0", "ff.net.2")
"""The layers of a transformer block that write to its residual stream: at zero, the block passes everything on."""


@torch.no_grad()
def grow(small: UNet2DConditionModel, large: UNet2DConditionModel) -> None:
    """Copy a denoiser's weights into a deeper one of the same widths, which then predicts what the small one does.

    The deeper one has more transformer blocks in each transformer; the added ones start with zeros where they write to
    the residual stream (as function-preserving growth does: Chen et al. 2016, Net2Net). Raises BadInput when anything
    else differs.

    >>> from miniworld.training.architecture import new_unet
    >>> tiny = {"block_out_channels": (32, 32, 32), "attention_head_dim": 2}
    >>> small, large = new_unet(**tiny, transformer_layers_per_block=1), new_unet(1, **tiny)
    >>> grow(small, large)
    >>> x, t, prompt = torch.randn(1, 4, 8, 8), torch.tensor([9]), torch.randn(1, 5, 128)
    >>> bool((small(x, t, prompt).sample - large(x, t, prompt).sample).abs().max() < 1e-5)
    True
    """
    have, need = small.state_dict(), large.state_dict()
    lost = sorted(set(have) - set(need))
    unlike = sorted(name for name in set(have) & set(need) if have[name].shape != need[name].shape)
    new = sorted(set(need) - set(have))
    strange = lost + unlike + [name for name in new if ".transformer_blocks." not in name]
    if strange:
        raise BadInput(
            f"the denoiser cannot be grown: {strange[0]} and {len(strange) - 1} more differ in more than depth"
        )
    large.load_state_dict({**need, **have})
    for name in {name.rpartition(".")[0] for name in new}:
        if name.endswith(_WRITES):
            layer = large.get_submodule(name)
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)


@torch.no_grad()
def move_words(old: CLIPTextModel, old_tokenizer: Any, new: CLIPTextModel, new_tokenizer: Any) -> int:
    """Copy the embeddings of the tokens that both vocabularies have; gives how many there are.

    Only for encoders without layers and of one width, in which a word's embedding is all there is to it; others learn
    their words anew, and the answer is 0.
    """
    if old.config.num_hidden_layers or new.config.num_hidden_layers or old.config.hidden_size != new.config.hidden_size:
        return 0
    theirs = old_tokenizer.get_vocab()
    both = [(index, theirs[token]) for token, index in new_tokenizer.get_vocab().items() if token in theirs]
    source, target = old.get_input_embeddings().weight, new.get_input_embeddings().weight
    target[[index for index, _ in both]] = source[[index for _, index in both]]
    kept = old.state_dict()
    for name, tensor in new.state_dict().items():
        if "token_embedding" not in name and kept[name].shape == tensor.shape:
            tensor.copy_(kept[name])
    return len(both)


def forget_prompts(unet: UNet2DConditionModel, seed: int = 0) -> None:
    """Draw the cross-attention's keys and values anew, in place, for a text encoder that the denoiser does not know."""
    torch.manual_seed(seed)
    for name, module in unet.named_modules():
        if name.endswith(("attn2.to_k", "attn2.to_v")) and isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
