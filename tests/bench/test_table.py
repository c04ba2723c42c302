from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from shiftless.atomic import write_atomic
from shiftless.bench.table import Row, Table, machine, read_table
from shiftless.errors import BadInput

ROWS = [
    Row("trivial: same relative position", "PCK@0.1 img", 0.25, (0.2, 0.3)),
    Row("trivial: same relative position", "PCK@0.1 bbox", 0.125, (0.1, 0.15)),
    Row("baseline: t=50 up1", "PCK@0.1 img", 0.5, (0.45, 0.55)),
]
TABLE = Table("mini-pairs", "mini", ROWS, "a laptop", ["12 pairs"])


def test_the_file_is_the_one_format(tmp_path):
    path = TABLE.write(tmp_path / "new" / "out.json")
    result = json.loads(path.read_text())
    assert list(result) == ["bench", "model", "machine", "rows"]
    assert result["machine"] == "a laptop"
    assert result["rows"][0] == {
        **{"method": "trivial: same relative position", "metric": "PCK@0.1 img", "value": 0.25, "ci95": [0.2, 0.3]}
    }
    again = read_table(path)
    assert (again.bench, again.model, again.machine, again.rows) == ("mini-pairs", "mini", "a laptop", ROWS)
    assert [p.name for p in path.parent.iterdir()] == ["out.json"]


def test_a_row_is_found_by_the_start_of_its_method():
    assert TABLE.value("baseline", "PCK@0.1 img") == 0.5
    assert TABLE.row("trivial", "PCK@0.1 bbox").ci95 == (0.1, 0.15)
    with pytest.raises(BadInput, match="there are baseline"):
        TABLE.value("GATE", "PCK@0.1 img")


def test_prints_every_number_with_its_interval():
    console = Console(file=io.StringIO(), width=80)
    console.print(TABLE)
    shown = console.file.getvalue()
    for text in (
        "0.250",
        "0.200–0.300",
        "0.125",
        "0.100–0.150",
        "0.500",
        "0.450–0.550",
        "12 pairs",
        "mini-pairs with mini",
    ):
        assert text in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "0.500 [0.450, 0.550]" in str(TABLE)


def test_many_gains_say_how_many_are_clear_by_chance_and_mark_those_that_are_clear_all_the_same():
    weak, strong = (0.03, (0.001, 0.059)), (0.2, (0.15, 0.25))
    rows = [Row(f"m{i}", "gain over baseline, bbox", *(strong if i == 3 else weak)) for i in range(12)]
    rows.append(Row("m3", "saved, t = 100", *strong))
    table = Table("b", "m", [*ROWS, *rows], "a laptop", ["12 pairs"])
    assert table.clear() == [rows[3], rows[12]]
    printed = str(table).splitlines()
    assert printed[-1] == (
        "13 gains: 13 of their 95% intervals leave zero out (0.7 would by chance if there were no gain at all), "
        "2 after Holm's correction for all 13 (*)"
    )
    assert [line.count("*") for line in printed if line.startswith("m3")] == [2]
    assert not any("*" in line for line in printed if line.startswith("m1"))
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    assert "0.200 *" in console.file.getvalue()
    assert "Holm" not in str(Table("b", "m", [*ROWS, rows[0]]))  # one gain needs no correction
    assert list(table.to_dict()["rows"][-1]) == ["method", "metric", "value", "ci95"]


def test_a_failed_write_leaves_the_old_file_and_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        TABLE.write(tmp_path / "file" / "out.json")
    path = write_atomic(tmp_path / "a.txt", b"old")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput):
        write_atomic(tmp_path / "folder", b"new")
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"bench": "b", "model": "m", "machine": "", "rows": [{}]}'])
def test_reading_another_file_is_one_clear_line(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(BadInput, match=r"x.json: not a table"):
        read_table(path)
    with pytest.raises(BadInput, match="cannot be read"):
        read_table(tmp_path / "none.json")


def test_machine_names_the_processor_and_torch():
    import torch

    assert torch.__version__ in machine()
    assert "cores" in machine()
