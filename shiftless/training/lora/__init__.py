"""A LoRA of a dataset's look, trained from a few of its photos: `shiftless.lora.train(model, photos, out)`."""

from shiftless.lora.settings import Settings, settings_for
from shiftless.lora.trainer import Trained, train

__all__ = ["Settings", "Trained", "settings_for", "train"]
