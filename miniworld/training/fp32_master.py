"""Fast optimisation on a processor: the network computes in bfloat16, AdamW updates fp32 master weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW keeps of each weight, by torch's names."""


class Fp32MasterAdamW:
    """AdamW over float32 master weights, with their exponential moving average, for a network kept in `dtype`.

    Autocast would cast every weight in every step; casting once a step after the update is a third faster on a
    processor. The moving average warms up as `1 - (1 + step)^-0.75` (power-function EMA), so that short runs are
    not held back by their first steps.

    >>> layer = nn.Linear(2, 2)
    >>> optimiser = Fp32MasterAdamW(layer.parameters(), dtype=torch.bfloat16)
    >>> layer(torch.ones(1, 2, dtype=torch.bfloat16)).sum().backward()
    >>> optimiser.step(lr=0.1) >= 0
    True
    >>> layer.weight.dtype, optimiser.master[0].dtype
    (torch.bfloat16, torch.float32)
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        dtype: torch.dtype = torch.bfloat16,
        weight_decay: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.99),
        clip: float = 1.0,
        ema_max: float = 0.9995,
    ) -> None:
        self.parameters = [p for p in parameters if p.requires_grad]
        self.master = [p.detach().float().clone() for p in self.parameters]
        self.average = [m.clone() for m in self.master]
        self.optimiser = torch.optim.AdamW(self.master, lr=0.0, betas=betas, weight_decay=weight_decay, fused=True)
        self.clip, self.ema_max = clip, ema_max
        self.steps = self.updates = 0  # fewer updates than steps when a batch's gradients were not finite
        for p in self.parameters:
            p.data = p.data.to(dtype)

    @torch.no_grad()
    def step(self, lr: float) -> float:
        """Take one step at rate `lr` and clear the gradients; gives their norm before clipping."""
        for m, p in zip(self.master, self.parameters):
            m.grad = torch.zeros_like(m) if p.grad is None else p.grad.to(m.dtype)
            p.grad = None
        norm = float(torch.nn.utils.clip_grad_norm_(self.master, self.clip))
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        if norm == norm and norm != float("inf"):  # one bad batch must not end a run
            self.optimiser.step()
            self.updates += 1
        for m in self.master:
            m.grad = None
        self.steps += 1
        decay = min(self.ema_max, 1 - (1 + self.steps) ** -0.75)
        torch._foreach_lerp_(self.average, self.master, 1 - decay)
        torch._foreach_copy_([p.data for p in self.parameters], self.master)
        return norm

    @torch.no_grad()
    def load_average(self) -> None:
        """Put the moving average into the network, in float32, at the end of training."""
        for p, a in zip(self.parameters, self.average):
            p.data = a.clone()

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors that a resumed run needs beside `steps` and `updates`, by name."""
        state = self.optimiser.state
        kinds = {"master": self.master, "average": self.average}
        for moment in MOMENTS:
            kinds[moment] = [state[m][moment] if state.get(m) else torch.zeros_like(m) for m in self.master]
        return {f"{kind}.{i:04d}": tensor for kind, tensors in kinds.items() for i, tensor in enumerate(tensors)}

    @torch.no_grad()
    def load_state_dict(self, tensors: Mapping[str, Tensor], steps: int, updates: int) -> None:
        """Continue from what `state_dict` gave after so many steps and updates."""
        moments: dict[int, dict[str, Tensor]] = {}
        for i, (m, a) in enumerate(zip(self.master, self.average)):
            m.copy_(tensors[f"master.{i:04d}"])
            a.copy_(tensors[f"average.{i:04d}"])
            # in the strides of the weights, since the fused update goes through memory in its order
            moments[i] = {name: torch.empty_like(m).copy_(tensors[f"{name}.{i:04d}"]) for name in MOMENTS}
            moments[i]["step"] = torch.tensor(float(updates))
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments if updates else {}, "param_groups": groups})
        self.steps, self.updates = steps, updates
        torch._foreach_copy_([p.data for p in self.parameters], self.master)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside the `with`, the network holds its moving average in float32 (to be saved or tried)."""
        kept = [p.data for p in self.parameters]
        self.load_average()
        try:
            yield
        finally:
            for p, data in zip(self.parameters, kept):
                p.data = data
