"""What the tests of training share: the world's tokenizer, and ten small pictures in two shards."""

from __future__ import annotations

import pytest

from miniworld.training.pictures import draw_shard
from miniworld.training.tokenizer import new_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return new_tokenizer()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    draw_shard(str(folder), 0, 6, 32)
    draw_shard(str(folder), 6, 4, 32)
    return folder
