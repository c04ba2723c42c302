"""Where a word looks in training: measured on the denoiser's own maps, which stay as they were."""

from __future__ import annotations

import pytest
import torch

from miniworld.training.architecture import new_scheduler, new_text_encoder, new_unet, new_vae
from miniworld.training.attention import PlainAttention, use_fast_attention
from miniworld.training.attention_share import WORDS, attention_share, recorded

TINY = {"block_out_channels": (8, 16, 16), "norm_num_groups": 4, "attention_head_dim": 2}


@pytest.fixture(scope="module")
def parts(tokenizer):
    vae = new_vae(block_out_channels=(8, 8, 16), norm_num_groups=4)
    unet, text_encoder = new_unet(**TINY), new_text_encoder(tokenizer)
    use_fast_attention(unet, text_encoder)
    return vae, unet.eval(), text_encoder


def test_a_denoiser_that_ignores_words_looks_everywhere_alike(parts, tokenizer):
    vae, unet, text_encoder = parts
    measure = attention_share(vae, tokenizer, n=2)
    alphas = new_scheduler().alphas_cumprod
    with torch.no_grad():
        kept = {name: one.clone() for name, one in unet.state_dict().items()}
        for name, module in unet.named_modules():
            if name.endswith("attn2.to_k"):
                module.weight.zero_()
        even = measure(unet, text_encoder, alphas)
        unet.load_state_dict(kept)
    assert even == {f"map_{word}": pytest.approx(1.0, abs=0.02) for word in WORDS}
    assert measure(unet, text_encoder, alphas) != even


def test_recorded_maps_are_those_that_act(parts):
    _, unet, _ = parts
    noisy, prompt = torch.randn(2, 4, 8, 8), torch.randn(2, 7, 128)
    with torch.no_grad():
        plain = unet(noisy, 10, prompt).sample
        with recorded(unet) as weights:
            assert torch.equal(unet(noisy, 10, prompt).sample, plain)
    assert len(weights) == sum(".attn2." in name for name in unet.attn_processors if name.startswith("up_blocks"))
    assert all(torch.allclose(one.sum(-1), torch.ones(())) and one.shape[-1] == 7 for one in weights)
    assert all(type(one) is PlainAttention for one in unet.attn_processors.values())
