"""Places: a folder, fsspec's memory and a server of S3 do the same."""

from __future__ import annotations

import pytest

from shiftless.errors import BadInput
from shiftless.store.place import place_of


@pytest.fixture(params=["disk", "memory", "s3"])
def place(request, tmp_path):
    if request.param == "memory":
        pytest.importorskip("fsspec")
    names = {
        "disk": tmp_path / "a.zarr",
        "memory": f"memory://{tmp_path}/a.zarr",
        "s3": f"s3://bucket{tmp_path}/a.zarr",
    }
    made = place_of(names[request.param], request.getfixturevalue("s3") if request.param == "s3" else None)
    yield made
    made.delete("a")


def test_what_is_written_is_read_in_whole_and_in_part(place):
    assert (place.names(), place.names("a/b")) == ([], [])
    place.write("a/b/c", [b"0123", b"456789"])
    place.write("a/b/c.1", [b""])
    assert place.names("a/b") == ["c", "c.1"]
    assert place.read("a/b/c") == b"0123456789"
    assert place.read("a/b/c", 3, 4) == b"3456"
    assert place.read("a/b/c", -4, 4) == b"6789"
    assert place.read("a/b/c", -40, 40) == b"0123456789"  # a file that is shorter
    assert place.read("a/b/c", 8, 40) == b"89"
    assert place.read("a/b/c.1") == b""
    for missing in ("a/d", "a/b/c/d"):
        with pytest.raises(FileNotFoundError):
            place.read(missing)
    place.write("a/b/c", [b"new"])
    assert place.read("a/b/c") == b"new"
    place.delete("a/b")
    place.delete("a/b")
    assert place.names("a/b") == []
    with place.lock():
        pass


def test_a_place_is_refused_in_one_line(tmp_path):
    with pytest.raises(BadInput, match=r"features: the name of a store ends in \.zarr"):
        place_of("features")
    with pytest.raises(BadInput, match=r"nosuch://x\.zarr: fsspec cannot open it"):
        place_of("nosuch://x.zarr")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="cannot be written"), place_of(tmp_path / "file" / "a.zarr").lock():
        pass
