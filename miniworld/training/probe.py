"""A linear probe: multinomial logistic regression, nothing more."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def probe_accuracy(
    x: Tensor, y: Tensor, test_x: Tensor, test_y: Tensor, *, decay: float = 1e-2, iterations: int = 60
) -> float:
    """Fit logistic regression on features N D and labels N, and give its accuracy on the test features.

    Features are standardised with the training set's statistics; the weights' squared norm times `decay` is added
    to the loss; L-BFGS finds the minimum, so that the answer depends on no learning rate.

    >>> x = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    >>> y = (x[:, 0] > 0).long()
    >>> probe_accuracy(x[:150], y[:150], x[150:], y[150:]) > 0.9
    True
    """
    mean, std = x.mean(0), x.std(0) + 1e-6
    x, test_x = (x - mean) / std, (test_x - mean) / std
    with torch.enable_grad():
        weight = torch.zeros(int(y.max()) + 1, x.shape[1], requires_grad=True)
        bias = torch.zeros(len(weight), requires_grad=True)
        optimiser = torch.optim.LBFGS([weight, bias], max_iter=iterations, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            value = F.cross_entropy(x @ weight.T + bias, y) + decay * weight.square().sum()
            value.backward()
            return value

        optimiser.step(loss)
    return float(((test_x @ weight.T + bias).argmax(1) == test_y).float().mean())
