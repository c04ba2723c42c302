"""Tuning: training through a backbone. Prompt embeddings, a LoRA, or the denoiser itself, together with a head."""

from shiftless.tuning.saved import as_tuned, tuned_for
from shiftless.tuning.scenes import TunedScenes
from shiftless.tuning.settings import TuneSettings
from shiftless.tuning.tunedmodel import TunedModel
from shiftless.tuning.tuning import Tuning, tuning

__all__ = ["TuneSettings", "TunedModel", "TunedScenes", "Tuning", "as_tuned", "tuned_for", "tuning"]
