"""Which technique keeps the content of your photos? Measured without labels, in a minute on a laptop.

python examples/audit.py [PHOTO ...]
"""

import sys

import shiftless
from miniworld.datasets import HELD_OUT, photos

model = shiftless.load("mini")
pictures = sys.argv[1:] or [picture.image for picture in photos(HELD_OUT, 4)]
base = shiftless.Recipe(timestep=300, taps=("up0",))
tried = [
    base.but(prompt="auto", label="captions"),
    base.but(control="canny", label="edges"),
    base.but(prompt="auto", control="canny", lora="photo-a", label="all"),
]
found = shiftless.audit(model, pictures, tried)
print(found)
print("keeps the content best:", found.best().label)
