"""Every reading says what it was made from, by contents; features of different contents are not compared."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import shiftless
from shiftless import BadInput, FeatureMaps, Recipe, match
from shiftless.image import open_photo
from shiftless.reading import stream

PHOTOS = [open_photo(np.full((64, 64, 3), value, np.uint8), name) for value, name in ((10, "dark"), (240, "light"))]


def lora(path, value: float) -> str:
    key = "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_{}.weight"
    save_file({key.format("A"): torch.full((2, 64), value), key.format("B"): torch.full((64, 2), value)}, path)
    return str(path)


@pytest.fixture(scope="module")
def twin():
    return shiftless.load("twin:sd15", dtype="fp32")


def test_an_origin_names_photo_model_and_adapters(twin, tmp_path):
    path = lora(tmp_path / "a.safetensors", 0.1)
    recipe = Recipe(lora=path, control="canny")
    maps = shiftless.extract(twin, PHOTOS[0], recipe)
    origin = maps.origin
    assert (origin.photo, origin.model, origin.fingerprint) == (PHOTOS[0].digest, "twin:sd15", twin.fingerprint)
    assert (origin.dtype, origin.pool) == ("fp32", 1)
    assert dict(origin.adapters) == {
        f"lora {path}": twin.digest("lora", path),
        "control canny": twin.digest("control", "canny"),
    }
    assert FeatureMaps.open(maps.save(tmp_path / "f.safetensors")).origin == origin


def test_a_captioner_counts_only_where_it_wrote_the_caption(tmp_path, monkeypatch):
    monkeypatch.setenv("SHIFTLESS_CACHE", str(tmp_path))
    model, recipe = shiftless.load("mini"), Recipe(prompt="auto", taps=("up0",))
    picture = PHOTOS[0]
    given = shiftless.extract(model, picture, recipe, fill={"caption": "a horse"})
    requested = shiftless.extract(model, picture, recipe)
    assert given.origin.adapters == ()
    assert requested.origin.adapters == (("captioner", model.captioner("").fingerprint),)


def test_features_of_two_models_are_not_compared():
    a, b = (
        shiftless.extract(shiftless.load(name, dtype="fp32"), PHOTOS[0], Recipe(taps=("up2",)))
        for name in ("twin:sd15", "twin:sd21")
    )
    assert a["up2"].shape[1] == b["up2"].shape[1]  # nothing else tells them apart
    with pytest.raises(BadInput, match=r"dark and dark were read with two models \(twin:sd15.*twin:sd21"):
        match(a, b, [(5, 5)])


def test_features_of_one_model_in_two_dtypes_are_compared():
    a, b = (shiftless.extract(shiftless.load("twin:sd15", dtype=d), PHOTOS[0], Recipe()) for d in ("fp32", "bf16"))
    assert len(match(a, b, [(5, 5)])) == 1


def test_features_of_two_versions_of_a_lora_are_not_compared(twin, tmp_path):
    recipe = Recipe(lora=lora(tmp_path / "a.safetensors", 0.1))
    a = shiftless.extract(twin, PHOTOS[0], recipe)
    lora(tmp_path / "a.safetensors", 0.2)
    b = shiftless.extract(twin, PHOTOS[1], recipe)
    with pytest.raises(BadInput, match=r"two versions of lora .*a\.safetensors"):
        match(a, b, [(5, 5)])
    plain = shiftless.extract(twin, PHOTOS[1], Recipe())
    assert len(match(a, plain, [(5, 5)])) == 1  # another recipe is the user's own choice


def test_a_lora_that_is_replaced_while_photos_are_read_is_noticed(twin, tmp_path, monkeypatch):
    path = lora(tmp_path / "a.safetensors", 0.1)
    other = lora(tmp_path / "b.safetensors", 0.2)
    denoise = twin.denoise

    def replaced(*arguments, **options):
        shutil.copy(other, path)
        return denoise(*arguments, **options)

    monkeypatch.setattr(twin, "denoise", replaced)
    with pytest.raises(BadInput, match=r"changed while photos were read: two versions of lora"):
        list(stream(twin, PHOTOS, Recipe(lora=path)))
