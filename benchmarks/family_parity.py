"""Give the largest differences from plain diffusers and transformers, family by family, on small random-weight models.

    python benchmarks/family_parity.py                 a line a family (half a minute)
    python benchmarks/family_parity.py flux --json F   one family; every number into a file

The comparisons are those of the tests (`tests/backbones/test_FAMILY.py`, the functions named `..._of_plain_diffusers`
or `..._of_plain_transformers`): predictions, features, attention maps and prompt embeddings against the library's own
modules, called as its own pipeline calls them, with hooks written by hand, in fp32. This script runs them and notes by
how much each compared pair of tensors differs. The exit code is 1 where one of them fails.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from shiftless.backbones.families import FAMILIES

ROOT = Path(__file__).parents[1]
TESTS = {  # family -> the file of tests that compares it with the plain library
    name: ROOT / "tests" / "backbones" / f"test_{where.partition(':')[0].rpartition('.')[2]}.py"
    for name, where in FAMILIES.items()
}
COMPARISONS = "of_plain_diffusers or of_plain_transformers"


@dataclass
class Differences:
    """How much what is read here differs from the plain library.

    tensors   how many pairs of tensors were compared
    absolute  the largest difference of two values
    relative  the largest difference of two values, as a share of the largest value of its tensor
    """

    tensors: int = 0
    absolute: float = 0.0
    relative: float = 0.0
    passed: bool = field(default=True)

    def add(self, actual: torch.Tensor, expected: torch.Tensor) -> None:
        """Note one pair; tensors of other shapes are the test's to refuse.

        >>> seen = Differences()
        >>> seen.add(torch.tensor([1.0, 4.5]), torch.tensor([1.0, 4.0]))
        >>> seen.tensors, seen.absolute, seen.relative
        (1, 0.5, 0.125)
        """
        if actual.shape != expected.shape or not expected.is_floating_point():
            return
        difference = float((actual.double() - expected.double()).abs().max())
        self.tensors += 1
        self.absolute = max(self.absolute, difference)
        self.relative = max(self.relative, difference / (float(expected.double().abs().max()) or 1.0))


def measure(family: str) -> Differences:
    """Run a family's comparisons and return their largest differences."""
    seen = Differences()
    compare = torch.testing.assert_close

    def noted(actual: Any, expected: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(actual, torch.Tensor) and isinstance(expected, torch.Tensor):
            seen.add(actual.detach(), expected.detach())
        compare(actual, expected, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as output:
        patch.setattr(torch.testing, "assert_close", noted)
        code = pytest.main(
            ["-q", "-p", "no:cacheprovider", "-k", COMPARISONS, "--rootdir", str(ROOT), str(TESTS[family])]
        )
    seen.passed = code == 0
    if not seen.passed:
        print(output.getvalue(), file=sys.stderr)
    return seen


def main(
    families: list[str] = typer.Argument(None, help="Which families, such as flux; all by default."),
    json_file: Path = typer.Option(None, "--json", help="Write every number here too."),
) -> None:
    """Measure how much each family differs from the plain library."""
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    unknown = sorted(set(families or ()) - set(TESTS))
    if unknown:
        print(f"{unknown[0]}: no such family; give some of {', '.join(TESTS)}", file=sys.stderr)
        raise typer.Exit(2)
    names = families or list(TESTS)
    rows = {name: measure(name) for name in track(names, "families", console=Console(stderr=True))}
    table = Table("family", "tensors", "largest difference", "as a share", "", title="compared with the plain library")
    for name, row in rows.items():
        verdict = "equal" if row.passed else "different"
        table.add_row(name, str(row.tensors), f"{row.absolute:.1e}", f"{row.relative:.1e}", verdict)
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps({name: asdict(row) for name, row in rows.items()}, indent=2), encoding="utf-8")
    raise typer.Exit(0 if all(row.passed and row.tensors for row in rows.values()) else 1)


if __name__ == "__main__":
    typer.run(main)
