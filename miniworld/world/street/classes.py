"""The 19 classes that Cityscapes is scored on, in the order of their train ids."""

from __future__ import annotations

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
    "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
VOID = 255
"""The id of pixels that are not scored: the picture's borders and the bonnet of the car that the camera stands in."""
COLOURS = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153), (250, 170, 30),
    (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142),
    (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
"""The colour in which each class is usually shown."""
CLASS = {name: i for i, name in enumerate(CLASSES)}
FLOOR = ("road", "sidewalk", "terrain")
"""What lies flat on the ground."""
