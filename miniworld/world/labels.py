"""Every paintable thing as one row of a table: its scene class, its part, how it is shaded and textured."""

from __future__ import annotations

import numpy as np

PARTS = (
    "background", "person", "back", "barrel", "bridle", "chest", "ear", "eye", "forelock", "head", "hoof", "leg",
    "mane", "muzzle", "neck", "nostril", "tail", "thigh", "saddle", "shoulder", "leg protection",
)  # fmt: skip

SCENE_CLASSES = (
    "sky", "cloud", "sun or moon", "mountain", "grass", "sand", "snow", "water", "road", "building", "tree", "fence",
    "plant", "animal", "person", "vehicle",
)  # fmt: skip

GROUPS = ("flat", "far", "body", "near", "head", "person", "vehicle", "thing", "tack")
TEXTURES = ("none", "coat", "ground", "cloud", "leaf", "water")

# name | scene class | part | shading group | texture
_TABLE = """
sky          | sky         | background | flat    | cloud
star         | sky         | background | flat    | none
cloud        | cloud       | background | thing   | none
sun          | sun or moon | background | flat    | none
ridge        | mountain    | background | flat    | leaf
peak         | mountain    | background | flat    | leaf
hill         | grass       | background | flat    | leaf
grass        | grass       | background | flat    | ground
flower       | plant       | background | flat    | none
flower2      | plant       | background | flat    | none
sand         | sand        | background | flat    | ground
dune         | sand        | background | flat    | ground
snow         | snow        | background | flat    | ground
water        | water       | background | flat    | water
foam         | water       | background | flat    | none
road         | road        | background | flat    | ground
line         | road        | background | flat    | none
kerb         | road        | background | flat    | ground
wall         | building    | background | flat    | none
wall2        | building    | background | flat    | none
roof         | building    | background | flat    | none
pane         | building    | background | flat    | none
trunk        | tree        | background | thing   | leaf
leaf         | tree        | background | thing   | leaf
leaf2        | tree        | background | thing   | leaf
pine         | tree        | background | flat    | leaf
cactus       | plant       | background | thing   | none
fence        | fence       | background | flat    | leaf
tail         | animal      | tail       | far     | coat
tuft         | animal      | tail       | far     | coat
far_ear      | animal      | ear        | far     | none
far_horn     | animal      | head       | far     | none
ff_leg       | animal      | leg        | far     | coat
fh_leg       | animal      | leg        | far     | coat
ff_hoof      | animal      | hoof       | far     | none
fh_hoof      | animal      | hoof       | far     | none
ff_wrap      | animal      | leg protection | far | none
fh_wrap      | animal      | leg protection | far | none
barrel       | animal      | barrel     | body    | coat
back         | animal      | back       | body    | coat
chest        | animal      | chest      | body    | coat
shoulder     | animal      | shoulder   | body    | coat
thigh        | animal      | thigh      | body    | coat
neck         | animal      | neck       | body    | coat
udder        | animal      | barrel     | near    | none
mane         | animal      | mane       | tack    | coat
nf_leg       | animal      | leg        | near    | coat
nh_leg       | animal      | leg        | near    | coat
nf_hoof      | animal      | hoof       | near    | none
nh_hoof      | animal      | hoof       | near    | none
nf_wrap      | animal      | leg protection | near | none
nh_wrap      | animal      | leg protection | near | none
head         | animal      | head       | head    | coat
muzzle       | animal      | muzzle     | head    | none
trunk_nose   | animal      | muzzle     | head    | coat
nostril      | animal      | nostril    | flat    | none
mouth        | animal      | muzzle     | flat    | none
ear          | animal      | ear        | tack    | none
ear_in       | animal      | ear        | flat    | none
eye          | animal      | eye        | flat    | none
pupil        | animal      | eye        | flat    | none
glint        | animal      | eye        | flat    | none
forelock     | animal      | forelock   | tack    | coat
horn         | animal      | head       | tack    | none
tusk         | animal      | muzzle     | tack    | none
bridle       | animal      | bridle     | flat    | none
cloth        | animal      | saddle     | tack    | none
saddle       | animal      | saddle     | tack    | none
far_shoe     | person      | person     | far     | none
far_trousers | person      | person     | far     | none
shirt        | person      | person     | person  | none
sleeve       | person      | person     | tack    | none
trousers     | person      | person     | tack    | none
shoe         | person      | person     | flat    | none
skin         | person      | person     | person  | none
hair         | person      | person     | person  | none
paint        | vehicle     | background | vehicle | none
paint2       | vehicle     | background | vehicle | none
trim         | vehicle     | background | flat    | none
glass        | vehicle     | background | flat    | none
shine        | vehicle     | background | flat    | none
tyre         | vehicle     | background | near    | none
far_tyre     | vehicle     | background | flat    | none
rim          | vehicle     | background | near    | none
hub          | vehicle     | background | flat    | none
lamp         | vehicle     | background | flat    | none
tail_lamp    | vehicle     | background | flat    | none
frame        | vehicle     | background | near    | none
sail         | vehicle     | background | vehicle | none
near_grass   | grass       | background | flat    | leaf
near_trunk   | tree        | background | thing   | leaf
near_fence   | fence       | background | tack    | leaf
"""

_ROWS = [[cell.strip() for cell in row.split("|")] for row in _TABLE.strip().splitlines()]
LABEL = {row[0]: i for i, row in enumerate(_ROWS)}
COUNT = len(_ROWS)
#: labels that a coat's pattern may recolour
COATED = ("barrel", "back", "chest", "shoulder", "thigh", "neck", "head")
LEGS = ("ff_leg", "fh_leg", "nf_leg", "nh_leg")
FAR = 0.62
"""How bright the legs of the far side are, as a share of the near ones."""


def _lookup(column: int, names: tuple[str, ...]) -> np.ndarray:
    """A 256-entry table from label to index; a label plus 128 is the same thing under the coat's second colour."""
    table = np.zeros(256, np.uint8)
    for i, row in enumerate(_ROWS):
        table[i] = table[i + 128] = names.index(row[column])
    return table


SCENE_OF = _lookup(1, SCENE_CLASSES)
PART_OF = _lookup(2, PARTS)
GROUP_OF = _lookup(3, GROUPS)
TEXTURE_OF = _lookup(4, TEXTURES)


def labels_of(*names: str) -> np.ndarray:
    """A 256-entry 0/1 table that marks the named labels."""
    table = np.zeros(256, np.uint8)
    for name in names:
        table[LABEL[name]] = table[LABEL[name] + 128] = 1
    return table
