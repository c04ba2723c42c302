"""Table: what every bench returns: rows with intervals, printed and written in one format."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftless.atomic import write_atomic
from shiftless.errors import BadInput
from shiftless.metrics.bootstrap import Difference
from shiftless.metrics.multiplicity import clear_gains, multiplicity

if TYPE_CHECKING:
    from rich.table import Table as RichTable


@dataclass(frozen=True)
class Row:
    """One number: how a method scores by a metric, with its 95% interval.

    method  starts with "trivial", "untrained", "baseline", "GATE" ...
    metric  "PCK@0.1 img", "PCK@0.1 bbox", "mIoU" ...; shares are in [0, 1]
    """

    method: str
    metric: str
    value: float
    ci95: tuple[float, float]

    @property
    def is_gain(self) -> bool:
        """Whether it compares two methods: its metric begins with "gain" or "saved"."""
        return self.metric.startswith(("gain", "saved"))


@dataclass(frozen=True)
class Table:
    """A bench's result; `write` gives {"bench", "model", "machine", "rows": [{"method", "metric", "value", "ci95"}]}.

    notes  lines for the reader below the printed table, not in the file
    about  plain values that the file holds too, such as the recipe with all that it resolved to

    Of several gains, those that are clear after Holm's correction for all of them are marked with * where the table is
    printed, and a line says how many would look clear by chance.

    >>> table = Table("mini-pairs", "mini", [Row("baseline: t=50 up1", "PCK@0.1 img", 0.5, (0.4, 0.6))], "a laptop")
    >>> table.value("baseline", "PCK@0.1 img")
    0.5
    >>> print(table)
    mini-pairs with mini
    method              PCK@0.1 img
    baseline: t=50 up1  0.500 [0.400, 0.600]
    """

    bench: str
    model: str
    rows: list[Row]
    machine: str = ""
    notes: list[str] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    def value(self, method: str, metric: str) -> float:
        """Return a score; `method` may be the start of the name. Raises BadInput if there is none."""
        return self.row(method, metric).value

    def row(self, method: str, metric: str) -> Row:
        """Return the first row of a method (or its start) and a metric; raises BadInput if there is none."""
        for row in self.rows:
            if row.metric == metric and row.method.startswith(method):
                return row
        raise BadInput(
            f"no row {method!r} with {metric!r}; there are {', '.join(sorted({r.method for r in self.rows}))}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the plain values that `write` writes."""
        rows = [{**asdict(row), "ci95": list(row.ci95)} for row in self.rows]
        document = {"bench": self.bench, "model": self.model, "machine": self.machine or machine(), "rows": rows}
        return {**document, **self.about}

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the table as JSON, whole or not at all; raises BadInput if the folder cannot be written."""
        return write_atomic(path, (json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n").encode())

    def __str__(self) -> str:
        grid = [["method", *self._metrics()]] + [
            [m, *self._cells(m, "{0:.3f} [{1:.3f}, {2:.3f}]{3}")] for m in self._methods()
        ]
        widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in grid]
        return "\n".join([f"{self.bench} with {self.model}", *lines, *self._lines()])

    def __rich__(self) -> RichTable:
        from rich import box
        from rich.table import Table as RichTable

        shown = RichTable(box=box.SIMPLE_HEAD, title=f"{self.bench} with {self.model}", title_justify="left")
        shown.add_column("method", overflow="fold")
        for metric in self._metrics():
            shown.add_column(metric, justify="right", min_width=12)
        for method in self._methods():
            shown.add_row(method, *self._cells(method, "{0:.3f}{3}\n[dim]{1:.3f}–{2:.3f}[/dim]"))
        if self._lines():
            shown.caption, shown.caption_justify = "\n".join(self._lines()), "left"
        return shown

    def clear(self) -> list[Row]:
        """Return the gains that differ from zero after Holm's correction for all gains of the table."""
        gains = [row for row in self.rows if row.is_gain]
        return [row for row, clear in zip(gains, clear_gains([_difference(row) for row in gains])) if clear]

    def _lines(self) -> list[str]:
        gains = [_difference(row) for row in self.rows if row.is_gain]
        return [*self.notes, f"{multiplicity(gains)} (*)"] if self._several() else self.notes

    def _methods(self) -> list[str]:
        return list(dict.fromkeys(row.method for row in self.rows))

    def _metrics(self) -> list[str]:
        return list(dict.fromkeys(row.metric for row in self.rows))

    def _cells(self, method: str, form: str) -> list[str]:
        row_of = {row.metric: row for row in self.rows if row.method == method}
        clear = {row.metric for row in self.clear() if row.method == method} if self._several() else set()
        cells = {m: form.format(row.value, *row.ci95, " *" if m in clear else "") for m, row in row_of.items()}
        return [cells.get(m, "") for m in self._metrics()]

    def _several(self) -> bool:
        return sum(row.is_gain for row in self.rows) > 1


def _difference(row: Row) -> Difference:
    return Difference(row.value, *row.ci95)


def read_table(path: str | os.PathLike[str]) -> Table:
    """Read a table that `Table.write` wrote; raises BadInput naming the file if it is something else."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        rows = [
            Row(r["method"], r["metric"], float(r["value"]), (float(r["ci95"][0]), float(r["ci95"][1])))
            for r in document["rows"]
        ]
        return Table(document["bench"], document["model"], rows, document["machine"])
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError):
        raise BadInput(f"{path}: not a table that `shiftless bench --json` wrote") from None


def machine() -> str:
    """Describe this machine in a line: processor, cores, torch, Python, system.

    >>> "torch" in machine()
    True
    """
    import torch

    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cores = os.cpu_count() or 1
    python = platform.python_version()
    return f"{name}, {cores} cores, torch {torch.__version__}, Python {python}, {platform.system()}"
