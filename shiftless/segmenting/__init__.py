"""Segmenting by words: photos into classes that are named, or into segments without names."""

from shiftless.segmenting.diffcut import NormalisedCuts
from shiftless.segmenting.goca import WordAttention
from shiftless.segmenting.maskclip import MaskClip
from shiftless.segmenting.odise import Odise
from shiftless.segmenting.untrained import Untrained

__all__ = ["MaskClip", "NormalisedCuts", "Odise", "Untrained", "WordAttention"]
