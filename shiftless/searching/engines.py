"""Engines: the photos with the cell nearest to a query, by torch or by faiss.

Both take blocks, and give for Q queries the K photos whose best cell has the highest cosine, each photo once. Photos of
equal cosine come in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import torch

from shiftless.errors import BadInput, first_line
from shiftless.searching.blocks import Block

ENGINES = ("auto", "torch", "faiss")
Best = tuple[np.ndarray, np.ndarray]
"""Scores Q K float32, falling, and the numbers of their photos Q K."""
FLAT = "Flat"
_TRAINED_ON = 200_000  # vectors, at most, that an index of faiss is trained on


class Engine(Protocol):
    """Finds photos; `exact` says whether no nearer one is ever missed."""

    exact: bool

    def best(self, queries: torch.Tensor, top: int) -> Best:
        """Return the best `top` photos of each of Q queries, Q C of unit length; fewer where there are fewer."""


class Torch:
    """Every cell of every photo is compared: exact, with nothing to install.

    blocks  what gives the blocks, and is called for each search: keep them in a list, or read them anew

    >>> vectors = torch.eye(3)[[0, 1, 2, 1]].view(2, 2, 3).mT  # two photos of two cells
    >>> scores, photos = Torch(lambda: [Block(np.array([7, 9]), vectors)]).best(torch.eye(3)[2:], 2)
    >>> scores.tolist(), photos.tolist()
    ([[1.0, 0.0]], [[9, 7]])
    """

    exact = True

    def __init__(self, blocks: Callable[[], Iterable[Block]]) -> None:
        self._blocks = blocks

    def best(self, queries: torch.Tensor, top: int) -> Best:
        scores, photos = np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        for block in self._blocks():
            new = (queries @ block.vectors).amax(2).T.numpy()  # P Q N -> Q P
            numbers = np.broadcast_to(block.numbers, new.shape)
            scores, photos = _highest(np.hstack([scores, new]), np.hstack([photos, numbers]), top)
        return scores, photos


class Faiss:
    """faiss, for many queries, or for an index that takes less memory; raises BadInput where it is not installed.

    blocks   read once, into memory
    factory  an index as faiss's index_factory names it, of inner products: "Flat" compares every cell and is exact;
             "IVF1024,SQfp16" or "IVF1024,PQ64" are smaller and faster, and may miss a photo

    Source: Douze et al., "The Faiss library", 2024.
    """

    def __init__(self, blocks: Iterable[Block], factory: str = FLAT) -> None:
        faiss = _faiss()
        self.exact = factory == FLAT
        self._index: Any = None
        photos: list[np.ndarray] = []
        early: list[np.ndarray] = []  # what the index is trained on, if it must be trained
        for block in blocks:
            vectors = block.vectors.transpose(1, 2).flatten(0, 1).contiguous().numpy()
            if self._index is None:
                self._index = _made(faiss, vectors.shape[1], factory)
            photos.append(np.repeat(block.numbers, block.vectors.shape[2]))
            if self._index.is_trained:
                self._index.add(vectors)
                continue
            early.append(vectors)
            if sum(map(len, early)) >= _TRAINED_ON:
                self._train(np.concatenate(early), factory)
                early = []
        if early:
            self._train(np.concatenate(early), factory)
        self._photos = np.concatenate(photos)
        self._count = len(np.unique(self._photos))

    def best(self, queries: torch.Tensor, top: int) -> Best:
        wide, top = 4 * top, min(top, self._count)
        while True:
            wide = min(wide, len(self._photos))
            cosines, cells = self._index.search(queries.numpy(), wide)
            chosen = [self._once(*row, top) for row in zip(cosines, cells)]
            if wide == len(self._photos) or all(len(scores) == top for scores, _ in chosen):
                least = min(len(scores) for scores, _ in chosen)  # an index that is not exact may find fewer
                return np.stack([s[:least] for s, _ in chosen]), np.stack([p[:least] for _, p in chosen])
            wide *= 4

    def _once(self, cosines: np.ndarray, cells: np.ndarray, top: int) -> Best:
        """Each photo by its best cell, the best photos first."""
        found = cells >= 0  # -1: there was none
        photos, cosines = self._photos[cells[found]], cosines[found]
        first = np.unique(photos, return_index=True)[1]  # cells come by falling cosine
        scores, numbers = _highest(cosines[None, first], photos[None, first], top)
        return scores[0], numbers[0]

    def _train(self, vectors: np.ndarray, factory: str) -> None:
        try:
            self._index.train(vectors)
        except RuntimeError as error:
            raise BadInput(
                f"index {factory!r}: faiss cannot train it on {len(vectors)} vectors ({first_line(error)}); give a "
                f"smaller one, or {FLAT!r}"
            ) from None
        self._index.add(vectors)


def engine_of(name: str, read: Callable[[], Iterable[Block]], *, keep: bool = True, factory: str = FLAT) -> Engine:
    """Return an engine by its name; "auto" is faiss where it is installed, else torch.

    read  gives the blocks     keep  hold them in memory; without it torch reads them again for each search

    Raises BadInput for another name, and for what an engine cannot do.
    """
    if name not in ENGINES:
        raise BadInput(f"engine={name!r}: must be one of {', '.join(ENGINES)}")
    if name == "auto":
        name = "faiss" if keep and find_spec("faiss") else "torch"
    if name == "faiss":
        if not keep:
            raise BadInput("engine='faiss' holds its vectors in memory; leave out keep=False, or take engine='torch'")
        return Faiss(read(), factory)
    if factory != FLAT:
        raise BadInput(f'index {factory!r} is made by faiss; install it with: pip install "shiftless[search]"')
    if not keep:
        return Torch(read)
    kept = list(read())
    return Torch(lambda: kept)


def _highest(scores: np.ndarray, photos: np.ndarray, top: int) -> Best:
    """The highest scores of each row; of equal ones those of smaller photo numbers."""
    order = np.lexsort((photos, -scores))[:, :top]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(photos, order, 1)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise BadInput('engine="faiss" needs faiss; install it with: pip install "shiftless[search]"') from None
    return faiss


def _made(faiss: Any, channels: int, factory: str) -> Any:
    try:
        return faiss.index_factory(channels, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise BadInput(
            f"index {factory!r}: faiss cannot make it for {channels} channels ({first_line(error)}); "
            'give one that its index_factory knows, such as "IVF256,SQfp16"'
        ) from None
