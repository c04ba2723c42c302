"""docs/features.md: its lines read a file as they stand, and its tables name what files really hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

import shiftless
from shiftless.store.index import row_of

TEXT = (Path(__file__).parents[2] / "docs" / "features.md").read_text(encoding="utf-8")


def test_its_lines_read_a_file_and_its_tables_are_whole(tmp_path):
    maps = shiftless.extract("twin:sd15", torch.zeros(3, 64, 64), shiftless.Recipe(taps=("up1", "up2")))
    path = maps.save(tmp_path / "a.safetensors", dtype="fp16")
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, object] = {"path": path}
    exec(code, names)
    read = names["maps"]
    assert {tap: value.dtype for tap, value in read.items()} == {"up1": np.float16, "up2": np.float16}
    np.testing.assert_array_equal(read["up1"], maps["up1"].half().numpy())
    with safe_open(path, "np") as file:
        header = file.metadata()
    assert set(re.findall(r"^\| `(\w+)`", TEXT, re.MULTILINE)) == set(header)
    index = TEXT.split("## index.jsonl")[1].split("##")[0]
    assert set(json.loads(json.dumps(row_of(path)))) == set(re.findall(r"`(\w+)`", index))
