"""Members learn what is to be learned, repeatably, and stop by the published rule."""

import pytest
import torch

from shiftless.amalgamate.layout import Layout
from shiftless.errors import BadInput
from shiftless.header import Origin
from shiftless.tasks.pixelgroups import PixelGroups
from shiftless.tasks.pixelsample import PixelSample
from shiftless.training.pixels import _batches, _Stopping, fit_pixels

CLASSES = ["background", "body", "leg"]


def pixels(n=240, seed=0):
    """Three classes that only the second of two readings tells apart."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    features = torch.randn(n, 2, 6, generator=generator)
    features[:, 1, :3] += 4 * torch.nn.functional.one_hot(labels, 3)
    origin = Origin(model="sd15", fingerprint="1f", adapters=(("lora a", "2e"),))
    groups = PixelGroups((Layout(2, (("up1", 6),)),))
    return PixelSample(groups, (features,), labels, labels * 0, (origin,))


@pytest.fixture(scope="module")
def fitted():
    return fit_pixels(pixels(), CLASSES, members=3, hidden=8, layers=(16, 8), batch=32, epochs=30, patience=5, seed=1)


def test_unseen_pixels_are_classified_by_most_members(fitted):
    unseen = pixels(seed=9)
    with torch.no_grad():
        right = (fitted.head(unseen.features).argmax(-1) == unseen.labels).float().mean(1)
    assert (right > 0.9).all()
    assert fitted.head.sources[0].origin == Origin(model="sd15", fingerprint="1f", adapters=(("lora a", "2e"),))


def test_the_same_seed_gives_the_same_head_and_another_seed_another(fitted):
    settings = {"members": 3, "hidden": 8, "layers": (16, 8), "batch": 32, "epochs": 30, "patience": 5}
    again = fit_pixels(pixels(), CLASSES, seed=1, **settings).head.state_dict()
    other = fit_pixels(pixels(), CLASSES, seed=2, **settings).head.state_dict()
    state = fitted.head.state_dict()
    assert all(torch.equal(state[name], again[name]) for name in state)
    assert not torch.equal(state["classifiers.first.weight"], other["classifiers.first.weight"])


def test_members_stop_at_steps_of_their_own_past_the_first_passes(fitted):
    assert len(set(fitted.steps)) > 1
    assert min(fitted.steps) > 30 * 8 + 5
    assert fitted.history[-1]["training"] == 0


def test_a_member_keeps_the_weights_that_it_stopped_with(fitted):
    head = fitted.head
    stop = _Stopping(head, patience=1)
    before = [one[1].clone() for one in stop._values()]
    stop.look(1, torch.tensor([3.0, 1.0, 3.0]))
    stop.look(2, torch.tensor([2.0, 1.0, 2.0]))  # the second member is no better, once
    stop.look(3, torch.tensor([1.0, 1.5, 1.0]))  # ... and twice
    assert stop.steps == {1: 3}
    assert not stop.done
    kept = {name: value.clone() for name, value in head.state_dict().items()}
    with torch.no_grad():
        for one in stop._values():
            one += 1
    stop.restore(4)
    after = stop._values()
    assert all(torch.equal(one[1], value) for one, value in zip(after, before))
    assert not any(torch.equal(one[0], value) for one, value in zip(after, before))
    head.load_state_dict(kept)


def test_each_member_sees_every_pixel_once_in_a_pass_in_an_order_of_its_own():
    rows = torch.cat(list(_batches(50, 2, 20, 1, seed=0)), 1)
    assert rows.shape == (2, 60)
    assert [sorted(set(one.tolist())) for one in rows] == [list(range(50))] * 2
    assert not torch.equal(*rows)


def test_the_term_for_peaked_weights_makes_them_peaked():
    peaks = []
    for peak in (0.0, 3.0):
        head = fit_pixels(
            pixels(), CLASSES, members=2, hidden=8, layers=(16, 8), batch=32, epochs=30, patience=1, peak=peak
        ).head
        with torch.no_grad():
            readings = (pixels().features[0] - head.mean0) * head.scale0
            peaks.append(float(head.gates[0].weights(readings[None]).norm(dim=2).mean()))
    assert peaks[1] > peaks[0] + 0.05


def test_bad_settings_are_told():
    with pytest.raises(BadInput, match="a pixel is labelled 2, and there are 2 classes"):
        fit_pixels(pixels(), CLASSES[:2])
    with pytest.raises(BadInput, match="batch=1"):
        fit_pixels(pixels(), CLASSES, batch=1)
