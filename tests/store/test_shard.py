"""Shards and columns are those of Zarr v3, and no flipped bit stays unseen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiftless.store.commit import shard_pieces
from shiftless.store.row import COLUMNS, ROWS, Row, decode, encode
from shiftless.store.shard import Damaged, checksum, index_size, read_index, seal, unseal, write_index


def test_the_checksum_is_that_of_rfc_3720():
    assert checksum(bytes(32)) == 0x8A9136AA  # B.4: 32 bytes of zeros
    assert checksum(b"\xff" * 32) == 0x62A8AB43


@settings(max_examples=20)
@given(st.binary(min_size=1, max_size=40), st.data())
def test_every_flipped_bit_is_seen(data, draw):
    sealed = bytearray(seal(data))
    bit = draw.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Damaged):
        unseal(bytes(sealed))


@given(st.lists(st.none() | st.tuples(st.integers(0, 2**40), st.integers(1, 2**40)), max_size=5))
def test_an_index_is_read_as_it_was_written(entries):
    data = write_index(entries, 5)
    assert len(data) == index_size(5)
    assert read_index(data, 5) == entries + [None] * (5 - len(entries))
    with pytest.raises(Damaged):
        read_index(data, 6)


def test_zarr_reads_a_shard_that_was_appended(tmp_path):
    zarr = pytest.importorskip("zarr", reason='needs the extra "store"')
    values = np.arange(3 * 2 * 2 * 2, dtype=np.float32).reshape(3, 2, 2, 2)
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(4, 2, 2, 2), chunks=(1, 2, 2, 2), shards=(4, 2, 2, 2), dtype="float32",
        compressors=[zarr.codecs.Crc32cCodec()], fill_value=np.nan,
    )  # fmt: skip
    array[:] = 1
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file() and path.name != "zarr.json")
    chunks = [(lambda row=row: seal(row.tobytes())) for row in values]
    file.write_bytes(b"".join(shard_pieces([chunks[0], bytes, *chunks[1:]], 4)))
    read = zarr.open_array(tmp_path / "a.zarr", mode="r")[:]
    assert (read[[0, 2, 3]] == values).all()
    assert np.isnan(read[1]).all()  # a chunk that is not there


rows = st.lists(
    st.builds(
        Row,
        key=st.text(max_size=4),
        photo=st.text(max_size=9),
        digest=st.just("1f"),
        size=st.tuples(st.integers(1, 2**31 - 1), st.integers(1, 9)),
        prompt=st.text(max_size=9),
        words=st.lists(st.text(max_size=3), max_size=3).map(tuple),
        checksums=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 9)),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=12)
@given(rows)
def test_columns_are_read_as_they_were_written(rows):
    files = {column: encode(rows, column) for column in COLUMNS}
    assert decode(files, len(rows), 2) == rows
    assert [len(files[name]) for name in ("size", "checksum")] == [8 * ROWS + 4, 8 * ROWS + 4]


def test_a_damaged_column_is_seen():
    row = Row("9f", "a.jpg", "1f", (8, 8), "", (), (1,))
    files = {column: encode([row], column) for column in COLUMNS}
    for column in COLUMNS:
        damaged = bytearray(files[column])
        damaged[2] ^= 4
        for wrong in (bytes(damaged), files[column][:-1], b""):
            with pytest.raises(Damaged):
                decode({**files, column: wrong}, 1, 1)


def test_a_name_that_is_no_text_is_kept_readable():
    row = Row("9f", "\udcff.jpg", "1f", (8, 8), "", (), (1,))  # how Python holds a file name of other bytes
    files = {column: encode([row], column) for column in COLUMNS}
    assert decode(files, 1, 1)[0].photo == "\\udcff.jpg"
