"""Both engines find the photos that comparing every cell by hand finds."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shiftless.errors import BadInput
from shiftless.searching.blocks import Block
from shiftless.searching.engines import Faiss, Torch, engine_of


def random_blocks(seed: int, channels: int = 16) -> list[Block]:
    """Photos 0 to 39 in three blocks, whose maps have 12, 6 and 20 cells."""
    random = torch.Generator().manual_seed(seed)
    numbers = np.split(np.random.default_rng(seed).permutation(40), (15, 25))
    sizes = zip(numbers, (12, 6, 20))
    return [Block(n, F.normalize(torch.randn(len(n), channels, cells, generator=random), dim=1)) for n, cells in sizes]


def by_hand(blocks: list[Block], query: torch.Tensor, top: int) -> list[tuple[int, float]]:
    best = {
        int(number): max(float(query @ vectors[:, cell]) for cell in range(vectors.shape[1]))
        for block in blocks
        for number, vectors in zip(block.numbers, block.vectors)
    }
    return sorted(best.items(), key=lambda item: (-item[1], item[0]))[:top]


@pytest.mark.parametrize("engine", ["torch", "faiss"])
@pytest.mark.parametrize("top", [1, 7, 100])
def test_an_engine_finds_the_nearest_photos_each_once(engine, top):
    if engine == "faiss":
        pytest.importorskip("faiss", reason='needs the extra "search"')
    blocks = random_blocks(top)
    queries = F.normalize(torch.randn(3, 16, generator=torch.Generator().manual_seed(9)), dim=1)
    scores, photos = engine_of(engine, lambda: iter(blocks)).best(queries, top)
    assert photos.shape == (3, min(top, 40))
    for row, query in enumerate(queries):
        expected = by_hand(blocks, query, top)
        assert photos[row].tolist() == [number for number, _ in expected]
        np.testing.assert_allclose(scores[row], [score for _, score in expected], atol=1e-6)


def test_photos_of_equal_cosine_come_by_number():
    pytest.importorskip("faiss", reason='needs the extra "search"')
    same = torch.eye(4)[:, :2].expand(5, 4, 2).contiguous()  # five photos of the same two cells
    blocks = [Block(np.array([3, 1]), same[:2]), Block(np.array([0, 4, 2]), same[2:])]
    for engine in (Torch(lambda: blocks), Faiss(blocks)):
        assert engine.best(torch.eye(4)[:1], 5)[1].tolist() == [[0, 1, 2, 3, 4]]


def test_an_index_that_is_not_flat_is_trained_and_says_so():
    pytest.importorskip("faiss", reason='needs the extra "search"')
    blocks = random_blocks(0)
    index = Faiss(blocks, "IVF4,SQfp16")
    assert (index.exact, Faiss(blocks).exact) == (False, True)
    query = blocks[0].vectors[2, :, 5][None]  # it lies in a list that is probed
    assert index.best(query, 1)[1].tolist() == [[int(blocks[0].numbers[2])]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "annoy"}, "must be one of auto, torch, faiss"),
        ({"name": "faiss", "keep": False}, "leave out keep=False"),
        ({"name": "torch", "factory": "IVF4,Flat"}, 'pip install "shiftless.search.'),
        ({"name": "faiss", "factory": "Nonsense"}, "'Nonsense': faiss cannot make it"),
        ({"name": "faiss", "factory": "IVF4096,Flat"}, "cannot train it on 540 vectors"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(given, message):
    pytest.importorskip("faiss", reason='needs the extra "search"')
    with pytest.raises(BadInput, match=message):
        engine_of(given.pop("name"), lambda: random_blocks(0), **given)


def test_without_faiss_torch_is_taken(monkeypatch):
    monkeypatch.setattr("shiftless.searching.engines.find_spec", lambda name: None)
    assert isinstance(engine_of("auto", lambda: random_blocks(0)), Torch)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(BadInput, match="needs faiss; install it with"):
        engine_of("faiss", lambda: random_blocks(0))


def test_blocks_that_are_not_kept_are_read_for_each_search():
    reads = []

    def read():
        reads.append(1)
        return random_blocks(0)

    index = engine_of("auto", read, keep=False)
    for _ in range(2):
        index.best(torch.eye(16)[:1], 2)
    assert len(reads) == 2
    kept = engine_of("torch", read)
    for _ in range(2):
        kept.best(torch.eye(16)[:1], 2)
    assert len(reads) == 3
