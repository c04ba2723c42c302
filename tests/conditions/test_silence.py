"""Loading says nothing of other libraries: neither of those that are missing nor of those that are installed."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import numpy as np, shiftless
model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
recipe = shiftless.Recipe(taps=("up1",), size=64, image_prompt="ip-adapter", control="canny")
shiftless.extract(model, np.zeros((64, 64, 3), np.uint8), recipe)
"""


def test_a_new_process_prints_nothing_of_other_libraries():
    completed = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert (completed.returncode, completed.stdout, completed.stderr) == (0, "", "")
