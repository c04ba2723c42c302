"""DatasetDDPM's row: pictures are generated and read once, labelled by the ensemble, and learned by one network."""

import numpy as np
import pytest

from miniworld.tables import dataset_ddpm
from miniworld.tables.dataset_ddpm import distilled, generated
from shiftless.backbones.registry import load
from shiftless.data.labelledphoto import LabelledPhoto, LabelledPhotos
from shiftless.recipe import Recipe
from shiftless.tasks.parts import Parts

TINY = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "decoder_hidden_size": 16}


class Bright:
    """An ensemble that labels a picture's right half, and is less certain of each further picture."""

    classes = ("left", "right")

    def __init__(self):
        self.asked = 0

    def predict(self, buckets, side):
        self.asked += 1
        mask = np.zeros((64, 64), np.uint8)
        mask[:, 32:] = 1
        return Parts(mask, np.full((64, 64), self.asked, np.float32))


@pytest.fixture(scope="module")
def made():
    return generated(load("twin:ddpm-bedroom"), Recipe(timestep=50, taps=("up1",), size=64), pictures=4, steps=2)


def test_pictures_are_generated_and_read_by_the_ddpm(made):
    assert len({picture.tobytes() for picture in made.pictures}) == 4
    assert [len(bucket) for bucket in made.buckets] == [1] * 4
    assert list(made.buckets[0][0]) == ["up1"]


def test_a_network_learns_the_labels_of_the_most_certain(made, monkeypatch):
    learned = []
    monkeypatch.setattr(dataset_ddpm, "DROPPED", 0.25)
    fit = dataset_ddpm.fit_network
    monkeypatch.setattr(
        dataset_ddpm, "fit_network", lambda labelled, *a, **k: learned.extend(labelled) or fit(labelled, *a, **k)
    )
    head = Bright()
    mask = np.zeros((32, 32), np.uint8)
    test = LabelledPhotos(
        (LabelledPhoto("a", made.pictures[0][:32, :32], "a", mask, 2),), head.classes, np.zeros((2, 3), np.uint8)
    )
    training = {"steps": 2, "batch": 2, "side": 32}
    (counted,) = distilled(made, head, test, side=16, training=training, architecture=TINY)
    assert [one.name for one in learned] == ["generated 0", "generated 1", "generated 2"]  # the last is least certain
    assert counted.totals()[1].tolist() == [32 * 32, 0]
