"""An optimiser's state as named tensors, for a checkpoint, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch

PREFIX = "optimiser."


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return what an optimiser has gathered of each parameter, named "optimiser.NUMBER.WHAT".

    >>> layer = torch.nn.Linear(2, 1)
    >>> optimiser = torch.optim.AdamW(layer.parameters())
    >>> layer(torch.ones(1, 2)).sum().backward(), optimiser.step()
    (None, None)
    >>> sorted(optimiser_tensors(optimiser))[:3]
    ['optimiser.0.exp_avg', 'optimiser.0.exp_avg_sq', 'optimiser.0.step']
    """
    state = optimiser.state_dict()["state"]
    return {
        f"{PREFIX}{number}.{what}": value
        for number, own in state.items()
        for what, value in own.items()
        if isinstance(value, torch.Tensor)
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give an optimiser the state that `optimiser_tensors` returned; names of anything else are passed over.

    Raises ValueError or KeyError for a state of other parameters.
    """
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(PREFIX):
            number, what = name.removeprefix(PREFIX).split(".")
            state.setdefault(int(number), {})[what] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
