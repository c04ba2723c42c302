"""Tasks: what features are for. Features in, answers out; never a backbone."""

from shiftless.tasks.correspondence import Matches, heat, match
from shiftless.tasks.head import AMALGAMATORS, CorrespondenceHead
from shiftless.tasks.labelnext import NextPhoto, label_next
from shiftless.tasks.pairfeatures import AnnotatedBuckets, PairFeatures

__all__ = [
    "AMALGAMATORS", "AnnotatedBuckets", "CorrespondenceHead", "Matches", "NextPhoto", "PairFeatures", "heat",
    "label_next", "match",
]  # fmt: skip
