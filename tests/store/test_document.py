"""docs/features.md: its lines read a file as they stand, and its tables name what files really hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import shiftless
from shiftless.store.index import row_of
from shiftless.store.row import COLUMNS

TEXT = (Path(__file__).parents[2] / "docs" / "features.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_its_lines_read_a_file_and_its_tables_are_whole(tmp_path):
    maps = shiftless.extract("twin:sd15", torch.zeros(3, 64, 64), shiftless.Recipe(taps=("up1", "up2")))
    path = maps.save(tmp_path / "a.safetensors", dtype="fp16")
    code = CODE[0]
    names: dict[str, object] = {"path": path}
    exec(code, names)
    read = names["maps"]
    assert {tap: value.dtype for tap, value in read.items()} == {"up1": np.float16, "up2": np.float16}
    np.testing.assert_array_equal(read["up1"], maps["up1"].half().numpy())
    with safe_open(path, "np") as file:
        header = file.metadata()
    fields = TEXT.split("## The header")[1].split("##")[0]
    assert set(re.findall(r"^\| `(\w+)`", fields, re.MULTILINE)) == set(header)
    index = TEXT.split("## index.jsonl")[1].split("##")[0]
    assert set(json.loads(json.dumps(row_of(path)))) == set(re.findall(r"`(\w+)`", index))


def test_its_lines_read_a_store_and_its_table_names_every_column(tmp_path, work, write, capsys):
    pytest.importorskip("zarr", reason='needs the extra "store"')
    pytest.importorskip("xarray", reason="is a dependency of the tests")
    write(tmp_path / "a.zarr", [1, 2], recipes=work.recipes[:1])
    for code in CODE[1:3]:  # those behind them are run by tests/cli/test_documents.py
        names: dict[str, object] = {"path": tmp_path / "a.zarr"}
        exec(code, names)
    out = capsys.readouterr().out
    assert "shape=(2, 64, 8, 8)" in out
    assert "['1.png' '2.png']" in out
    np.testing.assert_array_equal(names["group"].up1.sel(photo="2.png"), work.buckets[2][0]["up1"][0])
    table = TEXT.split("## A store")[1].split("| column |")[1].split("\n\n")[0]
    columns = re.findall(r"^\| ([\w, ]+) \|", table, re.MULTILINE)
    assert [name for row in columns for name in row.split(", ")] == list(COLUMNS)
