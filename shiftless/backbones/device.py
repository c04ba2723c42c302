"""Where and in which precision to run: the caller's choice, or the best this machine has."""

from __future__ import annotations

import torch

from shiftless.errors import BadInput

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_ROCM_BF16 = ("gfx908", "gfx90a", "gfx94", "gfx95", "gfx11", "gfx12")
"""AMD's architectures with bf16 arithmetic (CDNA, RDNA 3 and later); ROCm's capability numbers do not show it."""


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """Return the requested device; "auto" is CUDA, then Apple mps, then the CPU.

    Raises BadInput for another kind of device, and for one that this machine or this build of torch does not have.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        chosen = torch.device("meta")
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise BadInput(f"device={str(device)!r}: must be auto, cpu, cuda, cuda:N or mps")
    count = _count(chosen.type)
    if not count:
        raise BadInput(f"device={str(device)!r}: this machine or this build of torch has none; use device='auto'")
    if (chosen.index or 0) >= count:
        known = ", ".join(f"{chosen.type}:{i}" for i in range(count)) if chosen.type == "cuda" else chosen.type
        raise BadInput(f"device={str(device)!r}: this machine has no such device; it has {known}")
    return chosen


def _count(kind: str) -> int:
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    return 1 if kind == "cpu" or torch.backends.mps.is_available() else 0


def choose_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Return the requested dtype; "auto" is bf16 where `device` computes in it, fp16 on other GPUs, else fp32.

    An NVIDIA GPU does from compute capability 8.0 on; an older one (V100, T4) only imitates bf16, slowly.

    >>> choose_dtype("fp32", torch.device("cpu"))
    torch.float32
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype != "auto":
        if dtype not in DTYPES:
            raise BadInput(f"dtype={dtype!r}: must be auto, {', '.join(DTYPES)}")
        return DTYPES[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if _cuda_has_bf16(device) else torch.float16
    if device.type == "mps":
        return torch.float16
    return torch.bfloat16 if _cpu_has_bf16() else torch.float32


def trains_in_bf16(device: torch.device) -> bool:
    """Return whether training is faster in bfloat16 there: on GPUs that compute in it, and on processors with AMX.

    >>> trains_in_bf16(torch.device("meta"))
    False
    """
    if device.type == "cuda":
        return choose_dtype("auto", device) == torch.bfloat16
    return device.type == "cpu" and torch.cpu._is_amx_tile_supported()


def _cuda_has_bf16(device: torch.device) -> bool:
    if torch.version.hip:
        return torch.cuda.get_device_properties(device).gcnArchName.startswith(_ROCM_BF16)
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _cpu_has_bf16() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return False
    if any(flag in flags.split() for flag in ("amx_bf16", "avx512_bf16")):
        # torch may be limited to AVX2 by ATEN_CPU_CAPABILITY; bf16 is then imitated, and slower than fp32.
        return torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return "bf16" in flags.split()
