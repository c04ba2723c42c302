"""What models.json says of sizes and licences: there for every model, and what the configs give."""

from __future__ import annotations

import pytest
import torch

from shiftless.backbones.parameters import count, count_parameters
from shiftless.backbones.registry import models


@pytest.mark.parametrize("name", models())
def test_every_row_says_its_licence_and_the_parameters_that_its_configs_give(name):
    row = models()[name]
    assert row["licence"].strip()
    assert isinstance(row.get("gated", False), bool)
    assert row["parameters"] == count_parameters(row)


def test_tied_weights_count_once():
    one = torch.nn.Linear(1000, 1000, bias=False)
    assert count(torch.nn.ModuleList([one, torch.nn.Linear(1000, 1000, bias=False)])) == 2
    assert count(torch.nn.ModuleList([one, one])) == 1
