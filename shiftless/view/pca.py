"""PCA to RGB: the three directions in which features vary most, as colours shared by several maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from shiftless.errors import BadInput

_FADED = 0.86  # how far what is outside a mask is moved towards the grey it lies on
_GREY = 128


def pca_rgb(
    maps: Sequence[torch.Tensor],
    masks: Sequence[np.ndarray] | None = None,
    *,
    normalise: bool = True,
    centre: bool = False,
    clip: float = 1.0,
) -> list[np.ndarray]:
    """Show feature maps in one colour space, so that equal colours mean like features: H W 3 uint8 each.

    maps       1 C H W or C H W each, all of C channels; H and W may differ
    masks      a mask for each map, of any size: the colours are fitted inside only, and the outside is faded
    normalise  make every vector unit length first, as cosine matching does
    centre     take away each map's own mean: for maps of one image at different timesteps, which move all vectors
    clip       percent of the values cut off at either end of each colour

    The colours are red, green and blue for the first three principal components of all maps together; the sign of
    each is fixed, so that equal maps give equal pictures. Raises BadInput for no maps, channels that differ,
    and values that are not finite.

    >>> slope = torch.linspace(0, 1, 6).expand(1, 1, 4, 6)
    >>> picture, = pca_rgb([torch.cat([2 * slope, slope], 1)], normalise=False)
    >>> picture.shape, bool(picture[0, 0, 0] < 10), bool(picture[0, -1, 0] > 245)
    ((4, 6, 3), True, True)
    """
    flat, grids = _flatten(maps)
    if normalise:
        flat = [F.normalize(f, dim=1) for f in flat]
    if centre:
        flat = [f - f.mean(0) for f in flat]
    inside = None if masks is None else [_on_grid(mask, grid) for mask, grid in zip(masks, grids, strict=True)]
    fitted = flat if inside is None else [f[m > 0.5] for f, m in zip(flat, inside)]
    if sum(map(len, fitted)) < 2:
        fitted = flat
    mean, axes = principal_axes(torch.cat(fitted))
    low, high = _range(torch.cat([(f - mean) @ axes for f in fitted]), clip)
    pictures = []
    for i, (values, (h, w)) in enumerate(zip(flat, grids)):
        share = (((values - mean) @ axes - low) / (high - low)).clamp(0, 1)
        colour = np.full((h, w, 3), 127.5)
        colour[..., : axes.shape[1]] = share.view(h, w, -1).numpy() * 255
        if inside is not None:
            outside = (1 - inside[i].view(h, w, 1).numpy()) * _FADED
            colour = colour * (1 - outside) + _GREY * outside
        pictures.append(colour.round().astype(np.uint8))
    return pictures


def principal_axes(vectors: torch.Tensor, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean C and the first `count` principal axes C K of N C vectors, largest variance first.

    Each axis points to where its largest entry is positive. K is less than `count` if C is.

    >>> mean, axes = principal_axes(torch.tensor([[0.0, 0.0], [0.0, 2.0], [0.1, 4.0]]), 1)
    >>> axes.T.round().tolist()
    [[0.0, 1.0]]
    """
    vectors = vectors.cpu().double()
    mean = vectors.mean(0)
    _, eigenvectors = torch.linalg.eigh((vectors - mean).T @ (vectors - mean))
    axes = eigenvectors.flip(1)[:, :count]
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return mean, axes * torch.where(largest < 0, -1.0, 1.0)


def _flatten(maps: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[tuple[int, int]]]:
    """Each map as (H W) C float64 on the CPU, and its grid."""
    if not len(maps):
        raise BadInput("no maps were given; give at least one, 1 C H W")
    flat: list[torch.Tensor] = []
    grids: list[tuple[int, int]] = []
    for i, one in enumerate(maps):
        value = one[0] if one.ndim == 4 and len(one) == 1 else one
        if value.ndim != 3:
            raise BadInput(f"map {i} has shape {tuple(one.shape)}; give 1 C H W or C H W")
        if flat and len(value) != flat[0].shape[1]:
            raise BadInput(f"map {i} has {len(value)} channels, the first {flat[0].shape[1]}; read all at one tap")
        if not torch.isfinite(value).all():
            raise BadInput(f"map {i} holds values that are not finite; read it with dtype float32")
        flat.append(value.detach().cpu().double().flatten(1).T)
        grids.append((int(value.shape[1]), int(value.shape[2])))
    return flat, grids


def _on_grid(mask: np.ndarray, grid: tuple[int, int]) -> torch.Tensor:
    """A mask of any size as the share of each cell that it covers: (H W) float64."""
    value = torch.as_tensor(np.asarray(mask) > 0).double()[None, None]
    return F.adaptive_avg_pool2d(value, grid).flatten()


def _range(values: torch.Tensor, clip: float) -> tuple[torch.Tensor, torch.Tensor]:
    low, high = np.percentile(values.numpy(), [clip, 100 - clip], axis=0)
    low, high = torch.from_numpy(low), torch.from_numpy(high)
    return low, torch.where(high - low > 1e-12, high, low + 1)
