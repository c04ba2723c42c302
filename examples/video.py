"""A mask carried on through a video: drawn on the first frame, found in all others by their features.

python examples/video.py                                   # a made clip: a drawn horse that walks over a picture
python examples/video.py clip.mp4 mask.png sd15 masks/     # a video or a folder of frames, and its first frame's mask
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import shiftless
from miniworld.world.picture import draw
from shiftless.data.video import frames_of
from shiftless.tasks.propagation import Propagation, propagate_mask

if len(sys.argv) > 2:
    name, recipe = sys.argv[3] if len(sys.argv) > 3 else "sd15", None  # the model's own default recipe
    frames = list(frames_of(sys.argv[1]))
    mask, truth = np.asarray(Image.open(sys.argv[2], formats=["PNG"])), []
else:
    name, recipe = "mini", shiftless.Recipe(timestep=100, taps=("up0", "up1"))  # a finer grid than its default
    ground, horse = draw(3, kind="cow").image, draw(1, kind="horse", facing="left")
    shown = horse.parts > 0
    steps = [np.roll(np.arange(shown.shape[1]), shift) for shift in (0, 6, 12)]  # columns, moved to the right
    frames = [np.where(shown[:, step, None], horse.image[:, step], ground) for step in steps]
    truth = [shown[:, step] for step in steps]
    mask = truth[0].astype(np.uint8)

features = shiftless.stream(name, iter(frames), recipe)  # a batch of frames at a time
for number, found in enumerate(propagate_mask(features, mask, Propagation(last=7, radius=12, topk=5))):
    iou = f", IoU {(truth[number] & (found > 0)).sum() / (truth[number] | (found > 0)).sum():.2f}" if truth else ""
    print(f"frame {number}: {(found > 0).mean():.1%} of the pixels{iou}")
    if len(sys.argv) > 4:
        Path(sys.argv[4]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(found).save(Path(sys.argv[4]) / f"{number:06}.png")
