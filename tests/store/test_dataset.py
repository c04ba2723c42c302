"""FeatureDataset gives what extract gave, in any number of workers, stacked where sizes agree."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import shiftless
from shiftless import BadInput, FeatureDataset, Recipe
from shiftless.store.dataset import FeatureBatch

RECIPES = [Recipe(taps=("up1",), label="plain"), Recipe(taps=("up1",), seed=1, label="again")]


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sd15", device="cpu", dtype="bf16")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i in range(5):
        pixels = np.random.default_rng(i).integers(0, 256, (96, 64 + 64 * (i == 4), 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{4 - i}.png")
    return sorted(folder.iterdir())  # 0.png is as wide as it is not high; the others are upright


@pytest.fixture(scope="module")
def read(model, photos):
    """The photos' buckets as extract gives them, in the order of the photos' names."""
    return shiftless.extract(model, photos, RECIPES, dtype=None)


@pytest.fixture
def folder(tmp_path, read):
    for i, bucket in enumerate(read):
        for k, maps in enumerate(bucket):
            maps.save(tmp_path / f"part-{k}" / f"{9 - i}.safetensors", dtype="bf16")  # names of files say nothing
    (tmp_path / "notes.txt").write_text("not features")
    return tmp_path


def test_one_recipe_gives_maps_and_several_give_buckets(folder, photos, read):
    single = FeatureDataset(folder, RECIPES[1])
    assert len(single) == 5
    assert [maps.name for maps in single] == [str(photo) for photo in photos]
    for maps, bucket in zip(single, read, strict=True):
        assert maps["up1"].dtype == torch.float32
        assert torch.equal(maps["up1"], bucket[1]["up1"].float())
    turned = FeatureDataset(folder, RECIPES[::-1], dtype=None)
    assert isinstance(turned[2], shiftless.Bucket)
    assert [maps.recipe.seed for maps in turned[2]] == [1, 0]
    assert torch.equal(turned[2][0]["up1"], read[2][1]["up1"])
    assert turned[2][0]["up1"].dtype == torch.bfloat16
    assert len(FeatureDataset(folder / "part-0")) == 5  # one reading needs no choice
    assert torch.equal(FeatureDataset(folder / "part-0")[-1]["up1"], read[-1][0]["up1"].float())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_s_workers_give_the_same_batches(folder, photos, read, workers):
    dataset = torch.utils.data.Subset(FeatureDataset(folder, RECIPES), [1, 2, 3, 4])
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, collate_fn=FeatureDataset.collate)
    batches = list(loader)
    assert [type(batch) for batch in batches] == [FeatureBatch] * 2
    assert [batch.names for batch in batches] == [[str(p) for p in photos[1:3]], [str(p) for p in photos[3:5]]]
    assert batches[0].frames[0] == read[1][0].frame
    expected = torch.stack([torch.cat([read[i][k]["up1"] for i in (1, 2)]) for k in range(2)])  # K B C H W
    assert torch.equal(batches[0].maps["up1"], expected.float())


def test_a_transform_is_what_torch_stacks_by_itself(folder):
    dataset = FeatureDataset(folder, RECIPES[0], transform=mean_vector)
    (batch,) = DataLoader(dataset, batch_size=5, num_workers=1)
    assert batch.shape == (5, 64)


def mean_vector(maps):
    return maps["up1"].mean((0, 2, 3))


def test_maps_of_different_sizes_are_not_stacked(folder):
    dataset = FeatureDataset(folder, RECIPES[0])
    with pytest.raises(BadInput, match=r"1\.png holds up1 .*0\.png up1 .*fit='squash'"):
        FeatureDataset.collate([dataset[0], dataset[1]])


def test_what_a_folder_cannot_give_is_one_line(folder, tmp_path, photos, read):
    with pytest.raises(BadInput, match=r"holds 2 readings .*plain.*again.*recipes="):
        FeatureDataset(folder)
    with pytest.raises(BadInput, match=r"no reading of .*0\.png by other"):
        FeatureDataset(folder, Recipe(timestep=7, label="other"))
    (folder / "part-1" / "7.safetensors").unlink()
    with pytest.raises(BadInput, match=r"no reading of .*2\.png by again"):
        FeatureDataset(folder, RECIPES)
    with pytest.raises(BadInput, match="at least one Recipe"):
        FeatureDataset(folder, [])
    with pytest.raises(BadInput, match="no such folder"):
        FeatureDataset(folder / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no features in this folder"):
        FeatureDataset(tmp_path / "empty")
    with pytest.raises(BadInput, match="dtype='fp8'"):
        FeatureDataset(folder, RECIPES, dtype="fp8")
    (folder / "x.safetensors").write_bytes(b"hello")
    with pytest.raises(BadInput, match=r"x\.safetensors: not a whole file of features"):
        FeatureDataset(folder, RECIPES[0])


def test_features_of_two_models_are_not_mixed(folder, photos):
    other = shiftless.extract(shiftless.load("twin:sd21"), photos[0], RECIPES[0])
    other.save(folder / "other.safetensors")
    with pytest.raises(BadInput, match=r"two models .*one model"):
        FeatureDataset(folder, RECIPES[0])


def test_one_reading_in_two_files_is_not_chosen_by_chance(folder, read):
    read[0][0].save(folder / "again.safetensors")
    with pytest.raises(BadInput, match=r"again\.safetensors: two files of one reading of .*0\.png"):
        FeatureDataset(folder, RECIPES[0])
