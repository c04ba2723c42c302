"""Training runs that are killed in the middle."""

from __future__ import annotations

from miniworld.training.fp32_master import Fp32MasterAdamW


def interrupt_after(steps, monkeypatch):
    """Let the run be killed, as by Ctrl-C, right after that many steps."""
    step = Fp32MasterAdamW.step

    def counted(self, lr):
        if self.steps >= steps:
            raise KeyboardInterrupt
        return step(self, lr)

    monkeypatch.setattr(Fp32MasterAdamW, "step", counted)
