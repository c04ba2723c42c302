"""The UNet of guided-diffusion, written here once more from the papers, with its names."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


class Residual(nn.Module):
    """BigGAN's residual block with adaptive group normalisation (Dhariwal & Nichol 2021, section 3)."""

    def __init__(self, width, out, time, scale_shift, resample=None):
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(32, width), nn.SiLU(), nn.Conv2d(width, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, out * (2 if scale_shift else 1)))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, out), nn.SiLU(), nn.Dropout(), nn.Conv2d(out, out, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if width == out else nn.Conv2d(width, out, 1)
        self.scale_shift, self.resample = scale_shift, resample

    def forward(self, x, time):
        hidden = F.silu(self.in_layers[0](x))
        if self.resample:
            hidden, x = self.resample(hidden), self.resample(x)
        hidden, told = self.in_layers[2](hidden), self.emb_layers(time)[:, :, None, None]
        if self.scale_shift:
            scale, shift = told.chunk(2, 1)
            hidden = self.out_layers[0](hidden) * (1 + scale) + shift
        else:
            hidden = self.out_layers[0](hidden + told)
        return self.skip_connection(x) + self.out_layers[1:](hidden)


class Attending(nn.Module):
    def __init__(self, width, heads, new_order):
        super().__init__()
        self.norm = nn.GroupNorm(32, width)
        self.qkv, self.proj_out = nn.Conv1d(width, 3 * width, 1), nn.Conv1d(width, width, 1)
        self.heads, self.new_order = heads, new_order

    def forward(self, x, _time):
        tokens = x.flatten(2)
        joint = self.qkv(self.norm(tokens))
        if self.new_order:
            q, k, v = (part.unflatten(1, (self.heads, -1)) for part in joint.chunk(3, 1))
        else:
            q, k, v = joint.unflatten(1, (self.heads, 3, -1)).unbind(2)
        weights = torch.einsum("bhdq,bhdk->bhqk", q, k).div(math.sqrt(q.shape[2])).softmax(-1)
        mixed = torch.einsum("bhqk,bhdk->bhdq", weights, v).flatten(1, 2)
        return x + self.proj_out(mixed).view_as(x)


class Down(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x, _time):
        return self.op(x)


class Up(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x, _time):
        return self.conv(larger(x))


def smaller(x):
    return F.avg_pool2d(x, 2)


def larger(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


class Guided(nn.Module):
    """The UNet, with guided-diffusion's names: levels of `layers` blocks, skips from every block of the way down."""

    def __init__(
        self, widths, layers, attends, *, head_channels, updown, scale_shift, new_order=False, sigma=True, classes=0
    ):
        super().__init__()
        time, first = 4 * widths[0], widths[0]
        self.first = first
        self.time_embed = nn.Sequential(nn.Linear(first, time), nn.SiLU(), nn.Linear(time, time))
        if classes:
            self.label_emb = nn.Embedding(classes, time)

        def residual(width, out, resample=None):
            return Residual(width, out, time, scale_shift, resample)

        def attention(width):
            return Attending(width, width // (head_channels or width), new_order)

        down, skips, width = [nn.ModuleList([nn.Conv2d(3, first, 3, padding=1)])], [first], first
        for level, out in enumerate(widths):
            for _ in range(layers):
                down.append(nn.ModuleList([residual(width, out), *([attention(out)] if level in attends else [])]))
                width = out
                skips.append(width)
            if level < len(widths) - 1:
                down.append(nn.ModuleList([residual(width, width, smaller) if updown else Down(width)]))
                skips.append(width)
        self.input_blocks = nn.ModuleList(down)
        self.middle_block = nn.ModuleList([residual(width, width), attention(width), residual(width, width)])
        up = []
        for level, out in reversed(list(enumerate(widths))):
            for layer in range(layers + 1):
                block = [residual(width + skips.pop(), out), *([attention(out)] if level in attends else [])]
                width = out
                if level and layer == layers:
                    block.append(residual(width, width, larger) if updown else Up(width))
                up.append(nn.ModuleList(block))
        self.output_blocks = nn.ModuleList(up)
        self.out = nn.Sequential(nn.GroupNorm(32, width), nn.SiLU(), nn.Conv2d(width, 6 if sigma else 3, 3, padding=1))

    def forward(self, x, t, label=None):
        """The prediction, and what every output block gives."""
        half = self.first // 2
        angles = t * torch.exp(-math.log(10000) * torch.arange(half) / half)
        time = self.time_embed(torch.cat([angles.cos(), angles.sin()])[None])
        if label is not None:
            time = time + self.label_emb(label)
        x = self.input_blocks[0][0](x)
        skips, outputs = [x], []
        for block in self.input_blocks[1:]:
            for layer in block:
                x = layer(x, time)
            skips.append(x)
        for layer in self.middle_block:
            x = layer(x, time)
        for block in self.output_blocks:
            x = torch.cat([x, skips.pop()], 1)
            for layer in block:
                x = layer(x, time)
            outputs.append(x)
        return self.out(x), outputs


def guided(seed=0, **changes):
    """A small network of the kind of the LSUN models, with random weights."""
    options = {"head_channels": 16, "updown": True, "scale_shift": True, **changes}
    torch.manual_seed(seed)
    net = Guided((32, 32, 64), 2, (1, 2), **options).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.08)
    return net
