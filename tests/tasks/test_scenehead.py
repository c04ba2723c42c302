"""SceneHead: levels merged by gates, decoded, saved, and asked about photos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from shiftless.amalgamate.gate import Gate
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.header import Origin
from shiftless.image import Frame
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap
from shiftless.tasks.levels import Levels
from shiftless.tasks.pixels import Source
from shiftless.tasks.scenehead import SceneHead

LEVELS = Levels(2, (("up0", 6, 16), ("up1", 4, 8)))
FRAME = Frame((48, 80), (32, 48))


def bucket(seed: int = 0, **changes) -> list[FeatureMaps]:
    draw = torch.Generator().manual_seed(seed)
    taps = {name: Tap(name, channels, stride, "") for name, channels, stride in LEVELS.taps}
    grids = {name: (32 // stride, 48 // stride) for name, _, stride in LEVELS.taps}
    return [
        replace(
            FeatureMaps(
                {n: torch.randn(1, tap.channels, *grids[n], generator=draw) for n, tap in taps.items()}, taps, FRAME
            ),
            **changes,
        )
        for _ in range(LEVELS.readings)
    ]


@pytest.fixture(scope="module")
def head() -> SceneHead:
    torch.manual_seed(1)
    return SceneHead(LEVELS, ["sky", "road", "car"], width=4, hidden=4, source=Source("mini", "1f"), recipes=[Recipe()])


def test_each_level_has_a_gate_of_its_own_and_the_grid_is_the_finest(head):
    assert [gate.channels for gate in head.gates] == [4, 6]
    readings = [one[:, None] for one in LEVELS.tensors(bucket())]
    merged = head.eval().merged(readings)
    assert torch.equal(merged[0], head.gates[0](readings[0]))
    assert tuple(head(readings).shape) == (1, 3, 4, 6)
    alone = SceneHead(Levels(1, LEVELS.taps), ["sky", "road"], "linear")
    assert not any(isinstance(gate, Gate) for gate in alone.gates)
    assert torch.equal(alone.merged([one[:1] for one in readings])[1], readings[1][0])


def test_in_the_published_order_the_answer_lies_on_the_coarsest_grid():
    published = SceneHead(LEVELS, ["sky", "road"], width=4, hidden=4, order="coarse").train()
    readings = [one[:, None].expand(-1, 2, -1, -1, -1) for one in LEVELS.tensors(bucket())]
    logits, auxiliary = published.answers(readings)
    assert (tuple(logits.shape), tuple(auxiliary.shape)) == ((2, 2, 2, 3), (2, 2, 4, 6))


@pytest.mark.parametrize("decoder", ["upernet", "fpn", "linear"])
def test_saved_it_says_the_same_of_a_photo(tmp_path, decoder):
    made = SceneHead(LEVELS, ["sky", "road", "car"], decoder, width=4, hidden=4, palette=[[1, 2, 3]] * 3,
                     source=Source("mini", "1f"), recipes=[Recipe(seed=3)])  # fmt: skip
    made.save_pretrained(tmp_path)
    opened = SceneHead.from_pretrained(tmp_path)
    before, after = made.predict(bucket()), opened.predict(bucket())
    assert np.array_equal(before.mask, after.mask)
    assert np.array_equal(before.uncertainty, after.uncertainty)
    assert before.mask.shape == (48, 80)
    assert made.predict(bucket(), size=(24, 40)).mask.shape == (24, 40)
    assert after.descriptor.shape == (10,)
    assert 0 <= before.uncertainty.min() <= before.uncertainty.max() <= np.log(3) + 1e-5
    assert made.training  # as it was
    assert (opened.classes, opened.source, opened.palette[0], opened.recipes[0].seed) == (
        ("sky", "road", "car"), Source("mini", "1f"), [1, 2, 3], 3,
    )  # fmt: skip
    assert SceneHead.is_at(tmp_path)
    assert SceneHead.is_at(tmp_path / "model.safetensors")
    assert not SceneHead.is_at(tmp_path / "config.json")


def test_the_class_of_a_pixel_is_that_of_the_largest_enlarged_logit(head):
    logits, _ = head.logits(bucket())
    large = torch.nn.functional.interpolate(logits, (48, 80), mode="bilinear", align_corners=False)
    assert (head.predict(bucket()).mask == large[0].argmax(0).numpy()).mean() > 0.999  # but for ties by rounding


def test_what_does_not_fit_is_refused(head):
    with pytest.raises(BadInput, match=r"fitted on, and the photo read with, two models \(mini, weights 1f; sd15"):
        head.predict(bucket(origin=Origin(model="sd15", fingerprint="2e")))
    with pytest.raises(BadInput, match=r"features of shapes \(2, 1, 4, 4, 6\): give K B C h w with"):
        head([torch.randn(2, 1, 4, 4, 6)])
    with pytest.raises(BadInput, match="a bucket of 1 readings"):
        head.predict(bucket()[:1])
    with pytest.raises(BadInput, match="1 classes: a segmentation head takes 2 to 255"):
        SceneHead(LEVELS, ["sky"])
    with pytest.raises(BadInput, match="256 classes"):
        SceneHead(LEVELS, [str(i) for i in range(256)])
    with pytest.raises(BadInput, match="decoder='unet': must be one of upernet, fpn, linear"):
        SceneHead(LEVELS, ["sky", "road"], "unet")


def test_255_classes_fit_in_a_mask():
    many = SceneHead(LEVELS, [f"class {i}" for i in range(255)], "linear")
    torch.nn.init.zeros_(many.decoder.layers[0].bias)
    with torch.no_grad():
        many.decoder.layers[0].bias[254] = 100
    assert (many.predict(bucket()).mask == 254).all()
