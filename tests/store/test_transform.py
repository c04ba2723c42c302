"""Transforms on cells whose answer is known, and against scikit-learn's and scipy's own code where it is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shiftless.errors import BadInput
from shiftless.store.transform import Compression, Transform, learn


def back(transform: Transform, cells: np.ndarray) -> np.ndarray:
    """Cells N C, encoded as one map of N cells and decoded."""
    stored = transform.encode("up1", torch.from_numpy(cells.T.copy()[:, None]))
    return transform.decode("up1", stored.numpy())[:, 0].T


def test_int8_is_within_half_a_step_and_clips_what_is_beyond():
    cells = np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32) * (1, 10, 0.1, 1, 0)  # one is constant
    transform = learn(Compression("int8"), {"up1": cells})
    step = 1.1 * np.ptp(cells, axis=0) / 255
    assert (np.abs(back(transform, cells.astype(np.float32)) - cells) <= step / 2 + 1e-5).all()
    far = back(transform, np.full((1, 5), 1e6, np.float32))
    np.testing.assert_allclose(far[0, :3], cells.max(0)[:3] + 0.05 * np.ptp(cells, axis=0)[:3], rtol=1e-4)


def test_principal_components_are_those_of_a_singular_value_decomposition():
    cells = np.random.default_rng(1).normal(size=(300, 8)) @ np.random.default_rng(2).normal(size=(8, 8))
    cells = cells.astype(np.float32) + 3
    transform = learn(Compression("pca", 3), {"up1": cells})
    u, s, v = np.linalg.svd(cells - cells.mean(0), full_matrices=False)
    expected = (u[:, :3] * s[:3]) @ v[:3] + cells.mean(0)
    np.testing.assert_allclose(back(transform, cells), expected, atol=1e-4)
    np.testing.assert_allclose(back(learn(Compression("pca", 8), {"up1": cells}), cells), cells, atol=1e-4)


def test_product_quantisation_finds_well_separated_cells_exactly():
    random = np.random.default_rng(3)
    parts = [random.integers(-50, 50, (20, size)).astype(np.float32) for size in (3, 2, 2)]  # 7 channels in 3 parts
    cells = np.hstack([part[random.integers(0, 20, 4000)] for part in parts])
    transform = learn(Compression("pq", 3), {"up1": cells})
    assert transform.parameters["up1/centroids"].shape == (3, 256, 3)
    stored = transform.encode("up1", torch.from_numpy(cells.T.copy()[:, None]))
    assert (stored.dtype, tuple(stored.shape)) == (torch.uint8, (3, 1, 4000))
    np.testing.assert_array_equal(back(transform, cells), cells)


def test_product_quantisation_is_near_scipy_s_k_means():
    vq = pytest.importorskip("scipy.cluster.vq")
    cells = np.random.default_rng(4).normal(size=(3000, 4)).astype(np.float32)
    transform = learn(Compression("pq", 1), {"up1": cells})
    ours = np.square(back(transform, cells) - cells).sum(1).mean()
    centres, _ = vq.kmeans2(cells, 256, iter=15, minit="points", rng=0)
    theirs = np.square(vq.vq(cells, centres)[1]).mean()
    assert ours == pytest.approx(theirs, rel=0.05)


@pytest.mark.parametrize("text", ["int8", "pca:4", "pq:4"])
def test_a_transform_is_the_same_from_its_file_and_from_the_same_cells(text):
    cells = {tap: np.random.default_rng(i).normal(size=(500, 6 + i)).astype(np.float32) for i, tap in enumerate("ab")}
    one = learn(Compression.parse(text), cells)
    assert one.to_bytes() == learn(Compression.parse(text), cells).to_bytes()
    again = Transform.from_bytes(one.to_bytes())
    assert (again.compression, again.channels) == (Compression.parse(text), {"a": 6, "b": 7})
    value = torch.randn(7, 2, 3, generator=torch.manual_seed(0))
    np.testing.assert_array_equal(one.encode("b", value), again.encode("b", value))


@pytest.mark.parametrize("text", ["int4", "pca", "pca:0", "pq:x", "int8:4", ""])
def test_what_is_no_compression_is_refused(text):
    with pytest.raises(BadInput, match="give none, int8, pca:K"):
        Compression.parse(text)


def test_more_components_than_channels_and_a_damaged_file_are_refused():
    with pytest.raises(BadInput, match="up1 has 4 channels; give at most pca:4"):
        learn(Compression("pca", 5), {"up1": np.zeros((9, 4), np.float32)})
    with pytest.raises(ValueError, match="is no transform"):
        Transform.from_bytes(b"{}")
