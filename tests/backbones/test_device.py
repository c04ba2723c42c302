"""Where and in which precision: the chosen device decides, not the current one."""

from __future__ import annotations

from io import StringIO
from types import SimpleNamespace

import pytest
import torch

from shiftless import BadInput
from shiftless.backbones.device import choose_device, choose_dtype

CPUINFO = "/proc/cpuinfo"
CAPABILITY = {"cuda:0": (7, 5), "cuda:1": (8, 0), "cuda:2": (12, 0)}  # a T4, an A100, a newer one


@pytest.fixture
def three_gpus(monkeypatch):
    """Two GPUs that compute in bf16 beside the current one, a T4, which only imitates it."""
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda device=None: CAPABILITY[f"cuda:{torch.device(device).index or 0}"]
    )


def test_device_and_dtype():
    assert choose_dtype("auto", torch.device("cpu")) in (torch.float32, torch.bfloat16)
    assert choose_dtype(torch.float16, torch.device("cpu")) is torch.float16
    with pytest.raises(BadInput, match="fp32"):
        choose_dtype("fp8", torch.device("cpu"))
    for wrong in ("gpu", "xpu", "meta", "cpu:1", None, "cuda" if not torch.cuda.is_available() else "mps"):
        with pytest.raises(BadInput, match="device") as caught:
            choose_device(wrong)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("device", "dtype"), [("cuda", "float16"), ("cuda:0", "float16"), ("cuda:1", "bfloat16"), ("cuda:2", "bfloat16")]
)
def test_auto_asks_the_chosen_device_and_counts_no_emulation(three_gpus, device, dtype):
    assert choose_dtype("auto", choose_device(device)) is getattr(torch, dtype)


def test_a_device_beyond_the_last_is_one_line(three_gpus):
    with pytest.raises(
        BadInput, match=r"^device='cuda:9': this machine has no such device; it has cuda:0, cuda:1, cuda:2$"
    ):
        choose_device("cuda:9")
    with pytest.raises(BadInput, match="device='cuda:3'"):
        choose_device(torch.device("cuda", 3))


@pytest.mark.parametrize(
    ("arch", "dtype"),
    [("gfx906:sramecc+:xnack-", "float16"), ("gfx90a:sramecc+:xnack-", "bfloat16"), ("gfx1030", "float16"),
     ("gfx1100", "bfloat16"), ("gfx942", "bfloat16")],
)  # fmt: skip
def test_rocm_is_asked_for_its_architecture(monkeypatch, arch, dtype):
    monkeypatch.setattr(torch.version, "hip", "6.2")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(gcnArchName=arch))
    assert choose_dtype("auto", torch.device("cuda:0")) is getattr(torch, dtype)


@pytest.mark.parametrize(
    ("flags", "capability", "dtype"),
    [("avx2 avx512f avx512_bf16", "AVX512", "bfloat16"), ("avx512_bf16 amx_bf16", "AVX512", "bfloat16"),
     ("avx2 avx512f avx512_bf16", "AVX2", "float32"), ("avx2 fma", "AVX2", "float32"),
     ("fp asimd bf16 sve", "DEFAULT", "bfloat16"), ("fp asimd", "DEFAULT", "float32")],
)  # fmt: skip
def test_a_processor_computes_in_bf16_where_it_and_torch_do(monkeypatch, flags, capability, dtype):
    real = open
    lines = f"processor\t: 0\nflags\t\t: {flags}\n"
    monkeypatch.setattr(
        "builtins.open", lambda file, *a, **k: StringIO(lines) if file == CPUINFO else real(file, *a, **k)
    )
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert choose_dtype("auto", torch.device("cpu")) is getattr(torch, dtype)
