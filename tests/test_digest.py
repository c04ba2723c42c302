"""Digests name contents: the same wherever they lie, another whenever they change."""

from __future__ import annotations

import hashlib
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shiftless import digest
from shiftless.digest import (
    digest_of_file,
    digest_of_files,
    digest_of_folder,
    digest_of_tensors,
    marks_of,
    samples_of,
    state_of,
)


@pytest.fixture
def reads(monkeypatch):
    """How many files were really read, with a clock that calls every file long settled."""
    result = []

    def counted(*arguments, sha256=hashlib.sha256):
        result.append(1)
        return sha256(*arguments)

    monkeypatch.setattr(digest, "digest_of", lambda *values: "-".join(map(str, values)))  # it hashes too
    monkeypatch.setattr(digest.hashlib, "sha256", counted)
    monkeypatch.setattr(digest, "_SETTLED", -1e9)
    monkeypatch.setattr(digest, "_files", {})
    return result


def test_a_files_digest_is_its_sha256(tmp_path):
    content = os.urandom(5 << 20)  # more than one block
    (tmp_path / "a").write_bytes(content)
    assert digest_of_file(tmp_path / "a") == hashlib.sha256(content).hexdigest()[:32]


def test_a_file_is_read_once_until_it_changes(tmp_path, reads):
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    first = digest_of_file(file)
    assert digest_of_file(file) == first
    assert len(reads) == 1
    times = file.stat()
    file.write_bytes(b"two")  # as long as before, and given the old times: the change time cannot be given back
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digest_of_file(file) != first
    (tmp_path / "other").write_bytes(b"six")
    os.replace(tmp_path / "other", file)
    assert digest_of_file(file) == hashlib.sha256(b"six").hexdigest()[:32]


def test_what_was_just_written_is_read_again(tmp_path):
    """Two writes within one tick of the file system's clock leave the same times."""
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    for content in (b"two", b"six", b"ten") * 20:
        file.write_bytes(content)
        assert digest_of_file(file) == hashlib.sha256(content).hexdigest()[:32]


def test_the_digest_of_a_large_file_outlives_the_process(tmp_path, reads, monkeypatch):
    monkeypatch.setenv("SHIFTLESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digest, "_LARGE", 3)
    monkeypatch.setattr(digest, "_place", lambda key: tmp_path / "cache" / "-".join(map(str, key)).replace("/", "_"))
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    first = digest_of_file(file)
    digest._files.clear()  # a new process
    assert digest_of_file(file) == first
    assert len(reads) == 1
    for kept in (tmp_path / "cache").iterdir():
        kept.write_text("nonsense")
    digest._files.clear()
    assert digest_of_file(file) == first


def test_a_folders_digest_follows_names_and_contents(tmp_path):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "config.json").write_text("{}")
        (tmp_path / place / "notes.md").write_text(place)  # matches no pattern
    here, there = (digest_of_folder(tmp_path / place, ["*.json"]) for place in ("here", "there"))
    assert here == there
    (tmp_path / "there" / "config.json").rename(tmp_path / "there" / "other.json")
    assert digest_of_folder(tmp_path / "there", ["*.json"]) != here
    a, b = tmp_path / "here" / "config.json", tmp_path / "here" / "notes.md"
    assert digest_of_files({"a": a, "b": b}) != digest_of_files({"a": b, "b": a})


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=6), st.integers(0, 5))
def test_one_bit_of_one_value_is_another_digest(values, which):
    plain = torch.tensor(values)
    changed = plain.clone()
    changed.view(torch.int32)[which % len(values)] ^= 1
    assert digest_of_tensors({"w": plain}) == digest_of_tensors({"w": plain.clone()})
    assert digest_of_tensors({"w": plain}) != digest_of_tensors({"w": changed})
    assert digest_of_tensors({"w": plain}) != digest_of_tensors({"w": plain[None]})
    assert digest_of_tensors({"w": plain}) != digest_of_tensors({"w": plain.double()})


def test_tensors_of_every_usual_dtype_have_one():
    kinds = (torch.bfloat16, torch.float16, torch.float32, torch.int64, torch.bool)
    digests = {digest_of_tensors({"w": torch.zeros(3, dtype=kind)}) for kind in kinds}
    digests.add(digest_of_tensors({"w": torch.zeros(0)}))
    digests.add(digest_of_tensors({"w": torch.zeros(())}))
    assert len(digests) == len(kinds) + 2


def test_the_state_of_tensors_follows_every_way_to_write_them():
    layer = torch.nn.Linear(2, 2)
    ways = (
        lambda: layer.weight.add_(1),
        lambda: layer.load_state_dict({"weight": torch.ones(2, 2), "bias": torch.ones(2)}),
        lambda: setattr(layer.weight, "data", torch.zeros(2, 2)),
        lambda: setattr(layer, "weight", torch.nn.Parameter(torch.zeros(2, 2))),
        lambda: torch.optim.SGD(layer.parameters(), lr=0.1, foreach=False).step(),
    )
    layer(torch.ones(1, 2)).sum().backward()
    for i, way in enumerate(ways):
        if layer.weight.grad is None:
            layer(torch.ones(1, 2)).sum().backward()
        before = state_of(layer.parameters())
        assert state_of(layer.parameters()) == before
        with torch.no_grad():
            way()
        assert state_of(layer.parameters()) != before, i
    with torch.inference_mode():
        assert len(state_of([torch.zeros(1)])) == 1


def test_samples_show_what_torch_does_not_count():
    layer = torch.nn.Linear(2, 2)
    layer(torch.ones(1, 2)).sum().backward()
    for way in (
        lambda: layer.weight.data.add_(1),
        lambda: torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True).step(),
    ):
        before = samples_of(layer.parameters())
        way()
        assert samples_of(layer.parameters()) != before


def test_samples_are_spread_over_the_memory_in_any_format():
    weight = torch.arange(64.0).view(1, 4, 4, 4)
    for tensor in (weight, weight.to(memory_format=torch.channels_last), weight.transpose(0, 1), weight[..., ::2]):
        before = samples_of([tensor])
        assert 0 < len(before) <= 8 * 4
        tensor.data.mul_(2)
        assert samples_of([tensor]) != before
    assert samples_of([torch.zeros(0), torch.zeros(())]) == bytes(4)


def test_marks_follow_files(tmp_path):
    file = tmp_path / "a"
    assert marks_of([file]) == ((),)
    file.write_bytes(b"one")
    before = marks_of([file])
    assert marks_of([file]) == before
    file.write_bytes(b"three")
    assert marks_of([file]) != before
