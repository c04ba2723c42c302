"""GATE in a page: read two pictures in several steered ways, let the shipped head merge them, match a point."""

import shiftless
from miniworld.world.picture import draw
from shiftless.mini import weights
from shiftless.tasks.head import CorrespondenceHead

model = shiftless.load("mini")
head = CorrespondenceHead.from_pretrained(weights() / "heads" / "gate-with-output-convolution.0.safetensors")
for one in head.recipes:  # prompts, ControlNet, LoRAs, and an attention reading: they are kept in the head's file
    print(f"{one.label:9} prompt {one.prompt[:24]!r} control {one.control} lora {one.lora} seed {one.seed}")

a, b = draw(1, kind="horse", facing="left"), draw(2, kind="horse", facing="right")
merged = [head.merge_bucket(bucket) for bucket in shiftless.extract(model, [a.image, b.image], list(head.recipes))]
nose = a.keypoints[0]
result = shiftless.match(*merged, points=[nose])
print(f"nose of a at {nose}, found in b at {result[0]}, truly at {b.keypoints[0]}")
