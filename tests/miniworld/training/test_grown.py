"""Denoisers that are trained further at a larger depth, with another vocabulary or text encoder."""

from __future__ import annotations

import pytest
import torch

from miniworld.training.architecture import new_text_encoder, new_unet
from miniworld.training.grown import forget_prompts, grow, move_words
from miniworld.training.tokenizer import new_tokenizer
from shiftless.errors import BadInput

TINY = {"block_out_channels": (8, 16, 16), "norm_num_groups": 4, "attention_head_dim": 2}


def predicted(unet, prompt):
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(1, 4, 8, 8, generator=generator)
    with torch.no_grad():
        return unet(noisy, torch.tensor([300]), prompt).sample


def test_a_grown_denoiser_predicts_the_same_and_learns_in_its_new_blocks():
    small = new_unet(0, **TINY, transformer_layers_per_block=(1, 1, 2))
    large = new_unet(1, **TINY, transformer_layers_per_block=(1, 2, 3))
    prompt = torch.randn(1, 6, 128, generator=torch.Generator().manual_seed(1))
    assert (predicted(small, prompt) - predicted(large, prompt)).abs().max() > 1e-2
    grow(small, large)
    torch.testing.assert_close(predicted(large, prompt), predicted(small, prompt))
    large(torch.randn(1, 4, 8, 8), torch.tensor([300]), prompt).sample.square().mean().backward()
    added = large.get_submodule("mid_block.attentions.0.transformer_blocks.2.ff.net.2")
    assert added.weight.grad.abs().max() > 0


@pytest.mark.parametrize("other", [{"block_out_channels": (8, 16, 24)}, {"transformer_layers_per_block": (1, 2, 1)}])
def test_what_differs_in_more_than_depth_is_refused(other):
    small = new_unet(0, **TINY, transformer_layers_per_block=(1, 2, 2))
    with pytest.raises(BadInput, match=r"the denoiser cannot be grown: .* differ in more than depth"):
        grow(small, new_unet(0, **{**TINY, "transformer_layers_per_block": (1, 2, 2), **other}))


def test_words_keep_their_embeddings_in_another_vocabulary():
    few, many = new_tokenizer(["horse", "photo"]), new_tokenizer(["bed", "horse", "lamp", "photo"])
    old, new = new_text_encoder(few, 0), new_text_encoder(many, 1)
    assert move_words(old, few, new, many) > 2
    for text in ("a photo of a horse", "horse"):
        before, after = (
            encoder(**tokenizer(text, padding="max_length", return_tensors="pt")).last_hidden_state
            for encoder, tokenizer in ((old, few), (new, many))
        )
        torch.testing.assert_close(before, after)


def test_encoders_with_layers_learn_their_words_anew():
    tokenizer = new_tokenizer(["horse"])
    deep, plain = new_text_encoder(tokenizer, 0, num_hidden_layers=1), new_text_encoder(tokenizer, 1)
    before = plain.get_input_embeddings().weight.clone()
    assert move_words(deep, tokenizer, plain, tokenizer) == 0
    assert torch.equal(plain.get_input_embeddings().weight, before)


def test_only_keys_and_values_of_prompts_are_forgotten():
    unet = new_unet(0, **TINY)
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    forget_prompts(unet, seed=7)
    changed = {name for name, tensor in unet.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}
