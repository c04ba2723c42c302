"""One picture read with a small random-weight copy (a twin) of a model of every family.

python examples/families.py [PHOTO]

The twins show what comes out of each family without any download; their features mean nothing. With weights of your
own, `shiftless.load("sdxl")` and the like take the place of `shiftless.load("twin:sdxl")`.
"""

import sys

import shiftless
from miniworld.datasets import SEEDS, photos
from shiftless.backbones.families import FAMILIES
from shiftless.backbones.registry import models

picture = sys.argv[1] if len(sys.argv) > 1 else next(iter(photos(SEEDS["shown"].start, 1))).image
names = {family: next(name for name, row in models().items() if row["family"] == family) for family in FAMILIES}
for family, name in names.items():
    model = shiftless.load(f"twin:{name}")
    outputs = [tap for tap in model.taps if tap.kind == "out"]
    recipe = shiftless.Recipe(timestep=50, taps=(outputs[len(outputs) // 2].name, outputs[-1].name))
    features = shiftless.extract(model, picture, recipe)
    print(f"{family:11} {name:14} {len(model.taps):4} taps   {features}")
