"""The house's own rules that no linter knows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_constraints_pin_every_dependency():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    expected = project["dependencies"] + [d for extra in project["optional-dependencies"].values() for d in extra]
    names = {re.split(r"[\s<>=\[;]", d, maxsplit=1)[0].lower() for d in expected if "python_version" not in d}
    assert names - {"shiftless"} <= pinned


def test_public_names_are_all_there_and_documented():
    import shiftless

    for name in shiftless.__all__:
        assert (getattr(shiftless, name).__doc__ or "").strip(), name
    assert set(shiftless.__all__) == set(dir(shiftless))


def test_rooms_are_reached_from_the_package_alone():
    code = (
        "import shiftless as s\n"
        "assert s.amalgamate.Gate and s.tasks.CorrespondenceHead and s.training.fit\n"
        "assert all(hasattr(room, name) for room in (s.amalgamate, s.tasks, s.training) for name in room.__all__)"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr
