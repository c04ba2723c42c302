"""Training: everything that takes gradients. Heads are fitted here, LoRAs in `shiftless.training.lora`."""

from shiftless.training.head import Fitted, fit, fit_seeds

__all__ = ["Fitted", "fit", "fit_seeds"]
