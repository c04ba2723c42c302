"""What diffusers' own pipelines give their denoisers, recorded by hooks while they run."""

from __future__ import annotations

from typing import Any

import torch


def record(pipeline: Any, denoiser: Any, **options: Any) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Run a pipeline without guidance; return for each step (latent, timestep, prediction) of its denoiser."""
    given: list[tuple[torch.Tensor, torch.Tensor]] = []
    calls: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def before(_module: Any, args: Any, kwargs: Any) -> None:
        latent = args[0] if args else kwargs["hidden_states"]
        given.append((latent.clone(), args[1] if len(args) > 1 else kwargs["timestep"]))

    handles = [
        denoiser.register_forward_pre_hook(before, with_kwargs=True),
        denoiser.register_forward_hook(lambda _m, _a, out: calls.append((*given[-1], out[0].clone()))),
    ]
    pipeline.set_progress_bar_config(disable=True)
    try:
        pipeline(**options, output_type="latent", generator=torch.Generator().manual_seed(0))
    finally:
        for handle in handles:
            handle.remove()
    return calls
