"""A LoRA of a dataset's look, trained from a few of its photos: `shiftless.training.lora.train(model, photos, out)`."""

from shiftless.training.lora.settings import Settings, settings_for
from shiftless.training.lora.trainer import Trained, train

__all__ = ["Settings", "Trained", "settings_for", "train"]
