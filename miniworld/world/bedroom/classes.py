"""The 28 classes of Bedroom-28, in the order of its label files; 0 is what has no class, and is not scored.

The names are written out: the dataset has "picture / mirrow" for a picture or mirror, "table staff" for table stuff.
"""

from __future__ import annotations

CLASSES = (
    "background", "bed", "bed footboard", "bed headboard", "bed side rail", "carpet", "ceiling",
    "chandelier or ceiling fan", "curtain", "cushion", "floor", "table, nightstand or dresser",
    "table, nightstand or dresser top", "picture or mirror", "pillow", "lamp column", "lamp shade", "wall", "window",
    "curtain rod", "window frame", "chair", "picture or mirror frame", "plinth", "door or door frame", "pouf",
    "wardrobe", "plant", "table stuff",
)  # fmt: skip

#: short names for drawing, in the same order
_SHORT = (
    "background", "bed", "footboard", "headboard", "side_rail", "carpet", "ceiling", "chandelier", "curtain", "cushion",
    "floor", "table", "table_top", "picture", "pillow", "lamp_column", "lamp_shade", "wall", "window", "curtain_rod",
    "window_frame", "chair", "picture_frame", "plinth", "door", "pouf", "wardrobe", "plant", "table_stuff",
)  # fmt: skip
CLASS = {name: i for i, name in enumerate(_SHORT)}
