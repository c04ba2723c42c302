"""Layers of StyleGAN2: equalised weights, the modulated convolution, and changes of the grid."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
"""Slope of the leaky ReLU below zero."""


def leaky(x: Tensor) -> Tensor:
    """Apply a leaky ReLU whose output has the variance of its input.

    >>> leaky(torch.tensor([1.0, -1.0])).tolist()
    [1.414..., -0.282...]
    """
    return F.leaky_relu(x, SLOPE) * math.sqrt(2)


class EqualLinear(nn.Module):
    """A linear layer with an equalised learning rate: weights of deviation 1, scaled when it is called.

    rate  factor of the learning rate, of weights and bias
    bias  the value that the bias begins with

    Source: Karras et al., ICLR 2018, section 4.1.

    >>> EqualLinear(8, 4, bias=1.0)(torch.zeros(2, 8)).tolist()[0]
    [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, inputs: int, outputs: int, *, rate: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.gain, self.rate = rate / math.sqrt(inputs), rate

    def forward(self, x: Tensor) -> Tensor:
        """B `inputs` -> B `outputs`."""
        return F.linear(x, self.weight * self.gain, self.bias * self.rate)


class EqualConv(nn.Module):
    """A convolution with an equalised learning rate, of the input's size.

    >>> EqualConv(3, 8, 3)(torch.zeros(1, 3, 4, 4)).shape
    torch.Size([1, 8, 4, 4])
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.gain, self.padding = 1 / math.sqrt(inputs * kernel**2), kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """B `inputs` H W -> B `outputs` H W."""
        return F.conv2d(x, self.weight * self.gain, self.bias, padding=self.padding)


class ModulatedConv(nn.Module):
    """A convolution whose weights a style scales for each picture, and which brings outputs back to deviation 1.

    demodulate  off in layers that paint colours

    Scaling a weight's input channel is scaling the input, and dividing by a weight's norm is dividing the output: so
    one convolution with common weights does what a convolution for each picture would, without making its weights.
    Source: Karras et al., CVPR 2020 (StyleGAN2), section 2.2 and appendix B.

    >>> layer = ModulatedConv(8, 4, 3, styles=16)
    >>> layer(torch.zeros(2, 8, 5, 5), torch.zeros(2, 16)).shape
    torch.Size([2, 4, 5, 5])
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, styles: int, *, demodulate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.style = EqualLinear(styles, inputs, bias=1.0)
        self.gain, self.padding, self.demodulate = 1 / math.sqrt(inputs * kernel**2), kernel // 2, demodulate

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """B `inputs` H W and latents B `styles` -> B `outputs` H W, without a bias."""
        scale, weight = self.style(w), self.weight * self.gain
        y = F.conv2d(x * scale[:, :, None, None], weight, padding=self.padding)
        if not self.demodulate:
            return y
        squares = weight.float().square().sum((2, 3))  # outputs x inputs
        norm = (scale.float().square() @ squares.T + 1e-8).rsqrt()
        return y * norm[:, :, None, None].to(y.dtype)


def doubled(x: Tensor) -> Tensor:
    """Enlarge B C H W to B C 2H 2W bilinearly.

    >>> doubled(torch.tensor([[[[0.0, 4.0]]]])).tolist()[0][0][0]
    [0.0, 1.0, 3.0, 4.0]
    """
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
