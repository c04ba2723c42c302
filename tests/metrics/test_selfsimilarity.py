"""Self-similarities agree as Pearson's correlation of their rows says."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import pearsonr

from shiftless.metrics.selfsimilarity import agreement, self_similarity


def test_self_similarity_is_the_cosine():
    cells = torch.randn(7, 4, generator=torch.manual_seed(0))
    expected = torch.nn.functional.cosine_similarity(cells[:, None], cells[None], dim=2)
    torch.testing.assert_close(self_similarity(cells).float(), expected)


def test_agreement_is_pearsons_correlation_without_the_cell_itself():
    a, b = (torch.rand(9, 9, generator=torch.manual_seed(seed)).double() for seed in (0, 1))
    others = [[j for j in range(9) if j != i] for i in range(9)]
    expected = [pearsonr(a[i, others[i]], b[i, others[i]]).statistic for i in range(9)]
    np.testing.assert_allclose(agreement(a, b), expected, atol=1e-12)
    a.fill_diagonal_(100.0)  # what a cell is to itself says nothing
    np.testing.assert_allclose(agreement(a, b), expected, atol=1e-12)
    np.testing.assert_allclose(agreement(a, -3 * a + 1), -np.ones(9))


def test_flat_rows_agree_with_flat_rows_only():
    flat, varied = torch.full((4, 4), 0.3), torch.rand(4, 4, generator=torch.manual_seed(0))
    assert agreement(flat, 2 * flat).tolist() == [1.0] * 4
    assert agreement(flat, varied).tolist() == [0.0] * 4
