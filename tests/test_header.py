"""Headers of feature files: everything comes back, and what nobody wrote is refused in one line."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from shiftless import BadInput, FeatureMaps, Recipe
from shiftless.header import Origin
from shiftless.image import Frame
from shiftless.taps.names import Tap

MAPS = FeatureMaps(
    {"up1": torch.rand(1, 3, 2, 4), "up.cross.map.s8": torch.rand(1, 2, 4, 8)},
    {"up1": Tap("up1", 3, 16, "up_blocks.1"), "up.cross.map.s8": Tap("up.cross.map.s8", 0, 8, "", members=("a",))},
    Frame((40, 80), (32, 64)),
    Recipe(prompt="a horse", lora="horses.safetensors"),
    "a b.jpg",
    ("horse ", ""),
    "a horse",
    Origin("1f", "sd15", "2e", (("lora horses.safetensors", "3d"),), "bf16", 2),
)  # fmt: skip
FIELDS = ("shiftless", "recipe", "frame", "taps", "name", "words", "prompt", "origin")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole file of features: its path, bytes, header and tensors."""
    path = MAPS.save(tmp_path_factory.mktemp("features") / "f.safetensors")
    with safe_open(path, "pt") as file:
        return path, path.read_bytes(), file.metadata(), {tap: file.get_tensor(tap) for tap in MAPS}


def opened(path) -> FeatureMaps | None:
    """The features of a file, or None where one line refuses it; anything else fails the test."""
    try:
        return FeatureMaps.open(path)
    except BadInput as error:
        line = str(error)
    assert line.startswith(str(path))
    assert "\n" not in line
    return None


def usable(maps: FeatureMaps) -> bool:
    """Whether what was opened can be described, read at a point, and saved and opened again."""
    assert maps.describe()
    assert maps.at([(0, 0)]).shape[0] == 1
    (maps.name + maps.prompt + "".join(maps.words)).encode()
    return True


def test_everything_comes_back(whole):
    maps = FeatureMaps.open(whole[0])
    assert (maps.taps, maps.frame, maps.recipe) == (MAPS.taps, MAPS.frame, MAPS.recipe)
    assert (maps.name, maps.words, maps.prompt, maps.origin) == (MAPS.name, MAPS.words, MAPS.prompt, MAPS.origin)
    assert all(torch.equal(maps[tap], MAPS[tap]) for tap in MAPS)


@given(st.sampled_from(FIELDS), st.one_of(st.text(max_size=20), JSON.map(json.dumps)))
def test_a_field_that_holds_anything(whole, tmp_path_factory, field, value):
    _, _, header, tensors = whole
    place = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    save_file(tensors, place, {**header, field: value})
    maps = opened(place)
    assert maps is None or usable(maps)


@given(st.data())
def test_one_value_inside_a_field_that_is_another(whole, tmp_path_factory, data):
    """Types and ranges are checked at every place: a row's field, a member of a list, a side of a frame."""
    _, _, header, tensors = whole
    field = data.draw(st.sampled_from(["frame", "taps", "words", "origin"]))
    value = json.loads(header[field])
    parent, key, node = None, None, value
    while isinstance(node, (list, dict)) and node and (parent is None or data.draw(st.booleans())):
        keys = list(range(len(node))) if isinstance(node, list) else sorted(node)
        parent, key = node, data.draw(st.sampled_from(keys))
        node = node[key]
    if parent is None:
        return
    parent[key] = data.draw(JSON)
    place = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    save_file(tensors, place, {**header, field: json.dumps(value)})
    maps = opened(place)
    assert maps is None or usable(maps)


@given(st.data())
def test_bytes_that_flipped(whole, tmp_path_factory, data):
    _, content, _, _ = whole
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    place = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    place.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))] if data.draw(st.booleans()) else damaged)
    maps = opened(place)
    assert maps is None or usable(maps)


@pytest.mark.parametrize("field", ["frame", "taps", "words", "origin", "recipe"])
@pytest.mark.parametrize("value", ["[" * 99999, '{"a":' * 99999, "a = " + "[" * 99999, "1" * 5000, "[1e999, NaN]"])
def test_headers_too_deep_or_too_large(whole, tmp_path, field, value):
    _, _, header, tensors = whole
    save_file(tensors, tmp_path / "f.safetensors", {**header, field: value})
    with pytest.raises(BadInput, match=r"f\.safetensors"):
        FeatureMaps.open(tmp_path / "f.safetensors")


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"up1": torch.zeros(1, 4, 2, 4)}, "4 channels, its header says 3"),
        ({"up1": torch.zeros(3, 2, 4)}, "not floats 1 C H W"),
        ({"up1": torch.zeros(2, 3, 2, 4)}, "not floats 1 C H W"),
        ({"up1": torch.zeros(1, 3, 0, 4)}, "not floats 1 C H W"),
        ({"up1": torch.zeros(1, 3, 2, 4, dtype=torch.int32)}, "not floats 1 C H W"),
        ({"up2": torch.zeros(1, 3, 2, 4)}, "up1"),
    ],
)
def test_tensors_that_the_header_does_not_describe(whole, tmp_path, tensors, says):
    save_file({**whole[3], **tensors} if "up2" not in tensors else tensors, tmp_path / "f.safetensors", whole[2])
    with pytest.raises(BadInput, match=says):
        FeatureMaps.open(tmp_path / "f.safetensors")


def test_files_of_something_else_and_of_older_versions(whole, tmp_path):
    from shiftless.amalgamate.gate import Gate

    head = Gate(6, hidden=16).save(tmp_path / "head.safetensors")
    with pytest.raises(BadInput, match=r"head\.safetensors: holds a saved gate, not features"):
        FeatureMaps.open(head)
    old = {name: value for name, value in whole[2].items() if name not in ("shiftless", "origin")}
    save_file(whole[3], tmp_path / "old.safetensors", old)
    with pytest.raises(BadInput, match=r"old\.safetensors: was written by an older version.*extract it again"):
        FeatureMaps.open(tmp_path / "old.safetensors")
    save_file(whole[3], tmp_path / "bare.safetensors")
    with pytest.raises(BadInput, match=r"bare\.safetensors: not a whole file of features \(its header has no recipe\)"):
        FeatureMaps.open(tmp_path / "bare.safetensors")
    with pytest.raises(BadInput, match="No such file"):
        FeatureMaps.open(tmp_path / "none.safetensors")
