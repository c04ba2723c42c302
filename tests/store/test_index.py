"""The index of a folder of features that two processes write to at the same time."""

from __future__ import annotations

import json

import torch

import shiftless
from shiftless.store.index import NAME, Index


def saved(folder, count: int) -> list:
    """Files of features, one a photo."""
    photos = torch.arange(count).float()[:, None, None, None].expand(count, 3, 64, 64) / count
    read = shiftless.stream("twin:sd15", photos, shiftless.Recipe(taps=("up0",)))
    return [maps.save(folder / f"{i}.safetensors") for i, maps in enumerate(read)]


def names(folder) -> list[str]:
    return [json.loads(line)["file"] for line in (folder / NAME).read_text().splitlines()]


def test_a_line_that_another_process_has_just_added_is_not_added_again(tmp_path):
    first, second = Index(tmp_path), Index(tmp_path)
    a, b, c = saved(tmp_path, 3)
    first.add([a])
    second.add([b])
    assert [row["file"] for row in second.add([a])] == [a.name]  # its line is returned, as if it had been added
    first.add([b, c])
    second.add([c])
    assert names(tmp_path) == [a.name, b.name, c.name]


def test_a_line_that_a_repair_has_added_is_not_added_again(tmp_path):
    writer = Index(tmp_path)
    a, b = saved(tmp_path, 2)
    writer.add([a])
    Index(tmp_path).repair()  # another command starts between the writing of b and of its line
    writer.add([b])
    assert names(tmp_path) == [a.name, b.name]


def test_an_index_that_was_written_anew_at_the_same_size_is_read_again(tmp_path):
    writer = Index(tmp_path)
    a, b, c = saved(tmp_path, 3)
    writer.add([a, b])
    a.unlink()
    Index(tmp_path).repair()  # drops the line of a and adds that of c, which is as long
    writer.add([b, c])
    assert names(tmp_path) == [b.name, c.name]
