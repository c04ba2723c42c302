"""Tasks: what features are for. Features in, answers out; never a backbone."""

from shiftless.tasks.correspondence import Matches, heat, match
from shiftless.tasks.head import AMALGAMATORS, CorrespondenceHead
from shiftless.tasks.labelnext import NextPhoto, label_next
from shiftless.tasks.pairfeatures import AnnotatedBuckets, PairFeatures
from shiftless.tasks.parts import Parts
from shiftless.tasks.pixels import PixelEnsemble
from shiftless.tasks.pixelsample import LabelledBuckets, PixelSample
from shiftless.tasks.propagation import Propagation, propagate_mask, propagate_points
from shiftless.tasks.scenehead import SceneHead

__all__ = [
    "AMALGAMATORS", "AnnotatedBuckets", "CorrespondenceHead", "LabelledBuckets", "Matches", "NextPhoto",
    "PairFeatures", "Parts", "PixelEnsemble", "PixelSample", "Propagation", "SceneHead", "heat", "label_next", "match",
    "propagate_mask", "propagate_points",
]  # fmt: skip
