"""Which technique keeps the content of your photos? Measured without labels, in a minute on a laptop.

python examples/audit.py [PHOTO ...]
"""

import sys

import shiftless
from miniworld.datasets import SEEDS, photos

model = shiftless.load("mini")
pictures = sys.argv[1:] or [picture.image for picture in photos(SEEDS["shown"].start, 4)]
base = shiftless.Recipe(timestep=300, taps=("up0",))
tried = [
    base.but(prompt="auto", label="captions"),
    base.but(control="canny", label="edges"),
    base.but(prompt="auto", control="canny", lora="photo-a", label="all"),
]
result = shiftless.audit(model, pictures, tried)
print(result)
print("keeps the content best:", result.best().label)
