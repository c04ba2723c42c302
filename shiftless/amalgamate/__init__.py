"""Amalgamation: K readings of an image into one map; modules that take K B C H W and give B C H W."""

from shiftless.amalgamate.fusion import fuse
from shiftless.amalgamate.gate import Gate
from shiftless.amalgamate.hyper import Hyper
from shiftless.amalgamate.layout import Layout
from shiftless.amalgamate.simple import Concat, Mean

__all__ = ["Concat", "Gate", "Hyper", "Layout", "Mean", "fuse"]
