"""The rows that GANs give: what is read of a photo, and the table from end to end, on random weights."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from miniworld.gan.encoder import Encoder
from miniworld.gan.generator import Generator
from miniworld.tables import parts
from miniworld.tables.gan_features import ALAE, DATASET_GAN, ENCODER, INVERSION, GanReader
from miniworld.tables.part_methods import METHODS
from shiftless.backbones.registry import load
from shiftless.image import open_photo
from tests.miniworld.tables.test_dataset_ddpm import TINY

SMALL = {"channels": (16, 12, 8)}


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for place, network in (
        ("gan/generator", Generator(**SMALL)),
        ("gan-encoder/encoder", Encoder(styles=8, **SMALL)),
        ("alae/generator", Generator(**SMALL)),
        ("alae/encoder", Encoder(styles=1, **SMALL)),
    ):
        network.save_pretrained(folder / place)
    return GanReader(folder, steps=2, pictures=4)


@pytest.fixture(scope="module")
def photo():
    return open_photo(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))


def network(reader, part, kind):
    return kind.from_pretrained(reader.folder / part)


def painted(reader, place, latents):
    with torch.no_grad():
        return network(reader, f"{place}/generator", Generator).synthesise(latents)[1]


def test_maps_are_those_of_the_networks_that_the_rows_name(reader, photo):
    pixels = torch.from_numpy(photo.array.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    pixels = torch.nn.functional.interpolate(pixels, (32, 32), mode="bilinear", antialias=True)
    with torch.no_grad():
        alae = network(reader, "alae/encoder", Encoder)(pixels)[0][:, 0]
        latents, maps = network(reader, "gan-encoder/encoder", Encoder)(pixels)
    start = GanReader(reader.folder, steps=0)
    expected = {ENCODER: maps, ALAE: painted(reader, "alae", alae), INVERSION: painted(reader, "gan", latents)}
    for key, values in expected.items():
        ((maps,),) = start.read(key, [photo])
        assert list(maps) == [f"grid{one.shape[-1]}" for one in values]
        for found, one in zip(maps.values(), values):
            torch.testing.assert_close(found.float(), one, atol=0.02, rtol=0.02)
        assert [maps.taps[name].stride * maps[name].shape[-1] for name in maps] == [32] * 3
        assert maps.frame.original == (64, 64)
        assert maps.origin.photo == photo.digest
    assert not torch.equal(reader.read(INVERSION, [photo])[0][0]["grid16"], maps["grid16"])  # two steps further


def test_generated_pictures_are_of_one_label_and_have_the_maps_of_the_same_model(reader, photo):
    horses, rooms, again = reader.generate("parts"), reader.generate("rooms"), reader.generate("parts")
    assert len(horses.pictures) == len(horses.buckets) == 4
    assert all((one == other).all() for one, other in zip(horses.pictures, again.pictures))
    assert any((one != other).any() for one, other in zip(horses.pictures, rooms.pictures))
    assert len({picture.tobytes() for picture in horses.pictures}) == 4
    inverted = reader.read(INVERSION, [photo])[0][0]
    assert not horses.buckets[0][0].origin.conflict(inverted.origin)
    assert horses.buckets[0][0].origin.conflict(reader.read(ALAE, [photo])[0][0].origin)


def test_rows_are_there_once_weights_are(reader, tmp_path):
    keys = [ALAE, INVERSION, ENCODER, "ddpm"]
    assert reader.available(keys) == keys[:3]
    network(reader, "alae/generator", Generator).save_pretrained(tmp_path / "alae" / "generator")
    assert GanReader(tmp_path).available(keys) == []  # its encoder is missing
    network(reader, "alae/encoder", Encoder).save_pretrained(tmp_path / "alae" / "encoder")
    assert GanReader(tmp_path).available(keys) == [ALAE]


@pytest.mark.parametrize("name", ["parts", "rooms"])
def test_the_table_has_all_four_rows(reader, monkeypatch, name):
    quick = partial(parts.distilled, training={"steps": 2, "batch": 2, "side": 32}, architecture=TINY)
    monkeypatch.setattr(parts, "distilled", quick)
    fitting = {"members": 2, "layers": (16, 8), "hidden": 8, "patience": 5, "epochs": 1}
    rows = [m for m in METHODS if m.name in ("ALAE", "GAN inversion", "GAN encoder", "DatasetGAN")]
    table = parts.run(
        load("twin:ddpm-bedroom"), name, n=(3, 2), splits=1, methods=rows, progress=False, fitting=fitting, gans=reader
    )
    scores = {row.name: table.value(row.name, "mIoU") for row in rows}
    assert len(scores) == 4
    assert all(0 <= score < 0.7 for score in scores.values())
    assert DATASET_GAN in table.notes
    assert not any("left out" in note for note in table.notes)
