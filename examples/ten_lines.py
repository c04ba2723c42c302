"""The README's ten lines, on two pictures that the embedded world draws."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp

from PIL import Image

import shiftless
from miniworld.world.picture import draw

folder = Path(mkdtemp())
for name, seed in (("a", 11), ("b", 12)):
    Image.fromarray(draw(seed, kind="horse").image).save(folder / f"{name}.png")

model = shiftless.load("mini")
recipe = shiftless.Recipe(timestep=100, taps=("up0",), seed=0)
a, b = shiftless.extract(model, [folder / "a.png", folder / "b.png"], recipe)
print(a)
matches = shiftless.match(a, b, points=[(64, 80)])
print(matches)
bucket = shiftless.extract(model, folder / "a.png", [recipe, recipe.but(prompt="a photo of a horse")])
print(tuple(bucket.stack("up0").shape))
