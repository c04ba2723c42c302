"""The folder of a training run, beside the file that it will give: candidates, and where the run stands."""

from __future__ import annotations

import io
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shiftless.atomic import write_atomic
from shiftless.digest import in_order
from shiftless.errors import BadInput

PHOTOS = ("learned", "chosen_on", "reported_on")
"""The entries of a run's plan that list photos by their digests."""


@dataclass(frozen=True)
class Check:
    """A candidate, measured on held-out photos.

    step      when it was taken
    shift     its content shift relative to the base model's, on the photos that candidates are chosen by
    errors    the errors behind it, by timestep
    reported  the same as `shift`, on the photos that have no say in the choice
    """

    step: int
    shift: float
    errors: dict[str, float]
    reported: float


class RunFolder:
    """FILE.run beside FILE.safetensors; raises BadInput for a name that is no .safetensors file."""

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.out = Path(out)
        if self.out.suffix != ".safetensors" or self.out.is_dir():
            raise BadInput(f"{self.out}: name the LoRA's file, such as my-look.safetensors")
        self.path = self.out.with_suffix(".run")
        self.plan: dict[str, Any] = {}

    def begin(self, plan: dict[str, Any], *, restart: bool) -> None:
        """Begin a run, or go on with one of the same plan.

        Raises BadInput where the folder cannot be written, or was begun with another plan.
        """
        self.plan = json.loads(json.dumps(plan))
        file = self.path / "plan.json"
        if restart and self.path.is_dir():
            if not file.is_file():
                raise BadInput(f"{self.path}: not the folder of a training run, so it is not emptied; move it away")
            shutil.rmtree(self.path)
        if file.is_file() and (self.path / "state.pt").is_file():
            try:
                began = json.loads(file.read_text(encoding="utf-8"))
            except ValueError:
                raise BadInput(f"{file}: not the plan of a run; use --restart, or delete {self.path}") from None
            other = [name for name in self.plan if began.get(name) != self.plan[name]]
            if other:
                what = "the photos" if other[0] in PHOTOS else other[0]
                raise BadInput(f"{self.path}: begun with other settings ({what}); use --restart to drop that run")
        write_atomic(file, json.dumps(self.plan, indent=1).encode())
        if not os.access(self.out.parent, os.W_OK):
            raise BadInput(f"{self.out}: cannot be written; give a path in a folder you may write to")

    def save_state(self, state: dict[str, Any]) -> None:
        """Leave a checkpoint; a run that is killed meanwhile keeps the one before."""
        content = io.BytesIO()
        torch.save(state, content)
        write_atomic(self.path / "state.pt", content.getvalue())

    def state(self) -> dict[str, Any] | None:
        """Return the last checkpoint, or None at the beginning; raises BadInput if it cannot be read."""
        file = self.path / "state.pt"
        if not file.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file makes torch raise nearly anything
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise BadInput(f"{file}: not a checkpoint of this program ({reason}); use --restart") from None
        return state

    def save_candidate(self, step: int, tensors: dict[str, torch.Tensor]) -> None:
        """Keep a LoRA of one step, as a file that can be used as it is."""
        write_atomic(self._candidate(step), _bytes(tensors, {}))

    def candidate(self, step: int) -> dict[str, torch.Tensor]:
        """Return the tensors of one step's LoRA; raises BadInput if the file is gone."""
        from safetensors.torch import load_file

        if not self._candidate(step).is_file():
            raise BadInput(f"{self._candidate(step)}: the best candidate is gone; use --restart")
        return load_file(self._candidate(step))

    def _candidate(self, step: int) -> Path:
        return self.path / f"step-{step:06}.safetensors"


def lora_bytes(tensors: dict[str, torch.Tensor], about: dict[str, Any]) -> bytes:
    """Return a LoRA file: the tensors, and in its header how they came about."""
    short = {name: value for name, value in about.items() if name not in (*PHOTOS, "captions")}
    return _bytes(tensors, {"shiftless": json.dumps(short)})


def _bytes(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> bytes:
    from safetensors.torch import save

    return in_order(save(tensors, {"format": "pt", **metadata}))
