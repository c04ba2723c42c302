"""Two models' features joined into one map: a diffusion model's and a vision transformer's, matched together.

python examples/fusion.py [MODEL MODEL]    # such as: sd21 dinov2-b, once they are fetched
"""

import sys

import shiftless
from miniworld.world.picture import draw
from shiftless.amalgamate import fuse

names = sys.argv[1:] or ["mini", "twin:dinov2-s"]  # the embedded model, and random weights in the layout of DINOv2
models = [shiftless.load(name) for name in names]
a, b = draw(1, kind="horse", facing="left"), draw(2, kind="horse", facing="right")
by_model = [shiftless.extract(model, [a.image, b.image]) for model in models]  # each by its own default recipe
fused = [fuse(readings, weights=(0.9, 0.1)) for readings in zip(*by_model)]
print(fused[0], "from", fused[0].origin.model)
nose = a.keypoints[0]
print(f"nose of a at {nose}, found in b at {shiftless.match(*fused, points=[nose])[0]}, truly at {b.keypoints[0]}")
