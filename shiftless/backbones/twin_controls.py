"""Control networks with random weights, for twins: one of each class that steers a family."""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch

from shiftless.backbones.parts import class_of
from shiftless.conditions.silence import silenced
from shiftless.noise import seeded
from shiftless.taps.lock import construction


def twin_control(unet: Any, stride: int, seed: int = 0, *, channels: int = 4) -> Any:
    """Make a ControlNet with random weights for a denoiser whose latents shrink images `stride` times.

    channels  of a latent: a UNet for inpainting takes more, its ControlNets do not
    """
    from diffusers import ControlNetModel

    widths = tuple(4 * 2**i for i in range(stride.bit_length()))
    with construction(), seeded(seed):
        net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=widths)
        if channels != net.config.in_channels:
            net = ControlNetModel.from_config({**net.config, "in_channels": channels})
        for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
            torch.nn.init.normal_(layer.weight, std=0.05)  # initialised to zero, they would have no effect
    return net


def twin_union(unet: Any, stride: int, seed: int = 0) -> Any:
    """Make a union of ControlNets with random weights for an SDXL denoiser; it has the eight kinds of "ProMax" ones."""
    from diffusers import ControlNetUnionModel

    widths, first = tuple(4 * 2**i for i in range(stride.bit_length())), unet.config.block_out_channels[0]
    settings = {name: unet.config[name] for name in signature(ControlNetUnionModel).parameters if name in unet.config}
    settings |= {
        "in_channels": unet.config.out_channels,
        "num_control_type": 8,
        "num_trans_channel": first,
        "num_proj_channel": first,
    }
    with construction(), seeded(seed):
        net = ControlNetUnionModel(**settings, conditioning_embedding_out_channels=widths)
        added = (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out)
        for layer in (*added, net.spatial_ch_projs):
            torch.nn.init.normal_(layer.weight, std=0.05)  # initialised to zero, they would have no effect
    return net


def twin_adapter(unet: Any, stride: int, seed: int = 0) -> Any:
    """Make a T2I-Adapter with random weights for a denoiser whose latents shrink images `stride` times."""
    from diffusers import T2IAdapter

    widths, kind = list(unet.config.block_out_channels), "full_adapter"
    if not unet.config.down_block_types[0].startswith("CrossAttn"):  # SDXL's, which adds its first at half the size
        widths, kind, stride = [*widths, widths[-1]], "full_adapter_xl", 2 * stride
    with construction(), seeded(seed):
        return T2IAdapter(channels=widths, num_res_blocks=1, downscale_factor=stride, adapter_type=kind)


def twin_transformer_control(path: str, transformer: Any, seed: int = 0, **changes: Any) -> Any:
    """Make a ControlNet with random weights for a transformer, of a class "library:Class".

    changes  the settings in which it differs from the transformer: its number of blocks, for one
    """
    kind = class_of(path)
    settings = {name: value for name, value in transformer.config.items() if name in signature(kind).parameters}
    with construction(), seeded(seed), silenced():
        net = kind(**{**settings, **changes})
        for name, weight in net.named_parameters():  # some are initialised to zero, and would have no effect
            if name.startswith(("controlnet_", "pos_embed_input")) and name.endswith(("weight", "bias")):
                torch.nn.init.normal_(weight, std=0.05)
    return net
