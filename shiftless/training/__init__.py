"""Training: everything that takes gradients. Heads are fitted here, LoRAs in `shiftless.training.lora`.

Segmentation networks are trained in `shiftless.training.network`, on what `shiftless.training.distil` labels.
"""

from shiftless.training.head import Fitted, fit, fit_seeds
from shiftless.training.pixels import FittedPixels, fit_pixels

__all__ = ["Fitted", "FittedPixels", "fit", "fit_pixels", "fit_seeds"]
