"""Checkpoints: whole, small, read back to the bit, and never replaced by a part of the next one."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file

from shiftless.errors import BadInput
from shiftless.training import checkpoint
from shiftless.training.checkpoint import INDEX, SHARD_BYTES, load_checkpoint, save_checkpoint


def some_tensors(seed=0):
    generator = torch.Generator().manual_seed(seed)
    wide = torch.randn(5, 8, 3, 3, generator=generator).to(memory_format=torch.channels_last)
    return {"a": wide, "b": torch.randn(7, generator=generator), "c": torch.tensor(2.5), "d": torch.zeros(0, 3)}


def shards(folder):
    return sorted(folder.glob("*.safetensors"))


@pytest.mark.parametrize("limit", [40, 100, SHARD_BYTES])
def test_what_is_read_is_what_was_written_to_the_bit(tmp_path, limit):
    tensors, numbers = some_tensors(), {"steps": 3, "seconds": 0.1 + 0.2, "window": {"loss": [1 / 3, 2]}}
    save_checkpoint(tmp_path, tensors, numbers, shard_bytes=limit)
    again, found = load_checkpoint(tmp_path)
    assert found == numbers
    assert tensors.keys() - {"d"} == again.keys() - {"d"}
    assert all(torch.equal(again[name], tensors[name]) for name in again)
    sizes = [sum(t.nbytes for t in load_file(path).values()) for path in shards(tmp_path)]
    assert max(sizes) <= limit
    assert len(sizes) == {40: 37, 100: 15, SHARD_BYTES: 1}[limit]


def test_shards_are_small_enough_to_move(tmp_path):
    assert SHARD_BYTES < 15e6 - 200_000  # the header of a shard has about a hundred bytes a tensor
    save_checkpoint(tmp_path, {"a": torch.rand(2000, 2000), "b": torch.rand(2500, 1000)}, {})
    assert len(shards(tmp_path)) == 2
    assert all(path.stat().st_size < 15e6 for path in shards(tmp_path))


def test_a_run_that_is_killed_while_it_saves_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, some_tensors(0), {"steps": 1}, shard_bytes=100)
    write, count = checkpoint.write_atomic, len(shards(tmp_path))
    for allowed in range(count + 1):  # shards are written, then the index
        left = [allowed]

        def killed(path, content, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return write(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "write_atomic", killed)
            with pytest.raises(KeyboardInterrupt):
                save_checkpoint(tmp_path, some_tensors(1), {"steps": 2}, shard_bytes=100)
        tensors, numbers = load_checkpoint(tmp_path)
        assert numbers == {"steps": 1}
        assert torch.equal(tensors["a"], some_tensors(0)["a"])
    save_checkpoint(tmp_path, some_tensors(1), {"steps": 2}, shard_bytes=100)
    assert torch.equal(load_checkpoint(tmp_path)[0]["a"], some_tensors(1)["a"])
    assert len(shards(tmp_path)) == count  # what no checkpoint names is gone


@pytest.mark.parametrize("harm", ["missing", "cut", "changed", "other"])
def test_a_shard_that_is_missing_or_changed_is_named_in_one_line(tmp_path, harm):
    folder = tmp_path / "x.checkpoint"
    save_checkpoint(folder, some_tensors(), {}, shard_bytes=400)
    victim, other = shards(folder)[:2]
    if harm == "missing":
        victim.unlink()
    elif harm == "cut":
        victim.write_bytes(victim.read_bytes()[:-1])
    elif harm == "changed":
        content = bytearray(victim.read_bytes())
        content[-1] ^= 1
        victim.write_bytes(content)
    else:
        shutil.copy(other, victim)
    with pytest.raises(BadInput, match=victim.name) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)
    assert "copy the folder again" in str(caught.value)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"numbers": 3}', '{"numbers": {}, "shards": 1, "shapes": {}}'])
def test_an_index_that_is_missing_or_none_is_refused_in_one_line(tmp_path, text):
    assert load_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, some_tensors(), {})
    if text is None:
        (tmp_path / INDEX).unlink()
    else:
        (tmp_path / INDEX).write_text(text)
    with pytest.raises(BadInput, match=INDEX) as caught:
        load_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)
