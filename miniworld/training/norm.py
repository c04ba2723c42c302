"""Group norm and SiLU as one compiled kernel: apart they take a third of the training time on a processor."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn


@functools.cache
def kernel() -> Any | None:
    """Compile and load the kernel (two seconds), or give None where there is no compiler for it."""
    flags = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-fPIC"]
    # linked to torch's library, not to another OpenMP: two pools of threads would wait for each other's cores
    link = ["-Wl,--no-as-needed", f"-L{Path(torch.__file__).parent / 'lib'}", "-ltorch_cpu", "-lmvec", "-lm"]
    with tempfile.TemporaryDirectory() as folder:
        made, shared = str(Path(folder) / "norm.o"), str(Path(folder) / "norm.so")
        try:
            for command in (
                ["gcc", *flags, "-c", str(Path(__file__).with_name("norm.c")), "-o", made],
                ["gcc", "-shared", made, "-o", shared, *link],
            ):
                subprocess.run(command, check=True, capture_output=True)
            return ctypes.CDLL(shared)
        except (OSError, subprocess.CalledProcessError):  # no suitable compiler: slower without, with equal results
            return None


def _pointers(*tensors: Tensor) -> list[Any]:
    return [ctypes.c_void_p(t.data_ptr()) for t in tensors]


def _sizes(*sizes: int) -> list[Any]:
    return [ctypes.c_long(size) for size in sizes]


@torch.library.custom_op("shiftless::group_norm", mutates_args=())
def _norm(
    x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    compiled = kernel()
    assert compiled is not None
    x = x.contiguous(memory_format=torch.channels_last)
    n, c, h, w = x.shape
    y = torch.empty_like(x, memory_format=torch.channels_last)
    mean, rstd = (x.new_empty((n, groups), dtype=torch.float32) for _ in range(2))
    weight, bias = weight.float().contiguous(), bias.float().contiguous()
    compiled.norm_forward(
        *_pointers(x, weight, bias, y, mean, rstd),
        *_sizes(n, h * w, c, groups),
        ctypes.c_float(eps),
        ctypes.c_int(silu),
        ctypes.c_int(torch.get_num_threads()),
    )
    return y, mean, rstd


@_norm.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool) -> tuple[Tensor, Tensor, Tensor]:
    moments = x.new_empty((x.shape[0], groups), dtype=torch.float32)
    return torch.empty_like(x, memory_format=torch.channels_last), moments, torch.empty_like(moments)


@torch.library.custom_op("shiftless::group_norm_backward", mutates_args=())
def _norm_backward(
    dy: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor, bias: Tensor, silu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    compiled = kernel()
    assert compiled is not None
    x, dy = (t.contiguous(memory_format=torch.channels_last) for t in (x, dy))
    n, c, h, w = x.shape
    dx = torch.empty_like(x, memory_format=torch.channels_last)
    sums = x.new_empty((n, 2, c), dtype=torch.float32)
    wide = weight.float().contiguous(), bias.float().contiguous()
    compiled.norm_backward(
        *_pointers(dy, x, mean, rstd, *wide, dx, sums),
        *_sizes(n, h * w, c, mean.shape[1]),
        ctypes.c_int(silu),
        ctypes.c_int(torch.get_num_threads()),
    )
    total = sums.sum(0).to(weight.dtype)
    return dx, total[0].clone(), total[1].clone()  # an operator's outputs may not share memory


@_norm_backward.register_fake
def _(
    dy: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, weight: Tensor, bias: Tensor, silu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x, memory_format=torch.channels_last), torch.empty_like(weight), torch.empty_like(bias)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, bias, _groups, _eps, ctx.silu = inputs
    ctx.save_for_backward(x, output[1], output[2], weight, bias)


def _backward(ctx: Any, dy: Tensor, _dmean: Tensor, _drstd: Tensor) -> tuple[Any, ...]:
    x, mean, rstd, weight, bias = ctx.saved_tensors
    return (*_norm_backward(dy, x, mean, rstd, weight, bias, ctx.silu), None, None, None)


_norm.register_autograd(_backward, setup_context=_setup)


class FastGroupNorm(nn.GroupNorm):
    """A group norm of bfloat16 images B C H W through the kernel; anything else takes the usual way."""

    silu = False

    def forward(self, input: Tensor) -> Tensor:
        """Normalise B C H W, then apply SiLU when the class says so."""
        if input.dtype == torch.bfloat16 and input.dim() == 4:
            y: Tensor = _norm(input, self.weight, self.bias, self.num_groups, self.eps, self.silu)[0]
            return y
        y = super().forward(input)
        return F.silu(y) if self.silu else y


class FastGroupNormSiLU(FastGroupNorm):
    """The same with the SiLU that follows it."""

    silu = True


class RepeatUpsample(Upsample2D):
    """Upsampling by repetition: the compiled backward of `interpolate` gave zeros for some networks."""

    def forward(self, hidden_states: Tensor, output_size: int | None = None, *_: Any, **__: Any) -> Tensor:
        """Double B C H W and convolve."""
        if output_size is not None:
            y: Tensor = super().forward(hidden_states, output_size)
            return y
        b, c, h, w = hidden_states.shape
        rows = hidden_states.permute(0, 2, 3, 1)[:, :, None, :, None]
        doubled = rows.expand(b, h, 2, w, 2, c).reshape(b, 2 * h, 2 * w, c).permute(0, 3, 1, 2)
        y = self.conv(doubled)
        return y


class SiLULinear(nn.Linear):
    """A linear layer that applies SiLU to what comes in: it takes over the activation that was swapped out."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply SiLU, then the layer."""
        return super().forward(F.silu(input))


def use_kernel(model: nn.Module) -> bool:
    """Let a diffusers network norm with the kernel, weights and their names unchanged; gives False without a compiler.

    Residual blocks norm, activate and convolve; the activation moves into the norm. The network is for training
    alone afterwards: weights are copied into a plain one to be saved.
    """
    for module in model.modules():
        if type(module) is Upsample2D and module.use_conv and module.norm is None and module.interpolate:
            module.__class__ = RepeatUpsample
    if kernel() is None:
        return False
    for module in list(model.modules()):
        if isinstance(module, ResnetBlock2D) and isinstance(module.nonlinearity, nn.SiLU):
            module.nonlinearity = nn.Identity()
            module.norm1.__class__ = module.norm2.__class__ = FastGroupNormSiLU
            if module.time_emb_proj is not None:
                module.time_emb_proj.__class__ = SiLULinear
        if isinstance(getattr(module, "conv_norm_out", None), nn.GroupNorm) and isinstance(module.conv_act, nn.SiLU):
            module.conv_norm_out.__class__ = FastGroupNormSiLU
            module.conv_act = nn.Identity()
    for module in model.modules():
        if type(module) is nn.GroupNorm:
            module.__class__ = FastGroupNorm
    return True
