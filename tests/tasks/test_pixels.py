"""The ensemble agrees with the published classifier, keeps what it is, and refuses what is not its own."""

import pytest
import torch
from safetensors.torch import load_file

from shiftless.amalgamate.layout import Layout
from shiftless.errors import BadInput
from shiftless.features import FeatureMaps
from shiftless.header import Origin
from shiftless.image import Frame
from shiftless.recipe import Recipe
from shiftless.taps.names import Tap
from shiftless.tasks.pixelgroups import PixelGroups
from shiftless.tasks.pixels import PixelEnsemble, Source

PLACES = {
    "weight_assigner.0.0": "gates.0.first", "weight_assigner.0.2": "gates.0.norm",
    "weight_assigner.0.4": "gates.0.last",
    "weight_assigner_ddpm.0.0": "gates.1.first", "weight_assigner_ddpm.0.2": "gates.1.norm",
    "weight_assigner_ddpm.0.4": "gates.1.last", "layers.0": "classifiers.first", "layers.2": "classifiers.norm1",
    "layers.3": "classifiers.second", "layers.5": "classifiers.norm2", "layers.6": "classifiers.last",
}  # fmt: skip


@pytest.mark.parametrize("classes", [5, 34])
def test_one_member_is_the_published_classifier(goldens, classes):
    golden = {
        name: value.float() for name, value in load_file(goldens / f"pixel_classifier_c{classes}.safetensors").items()
    }
    groups = PixelGroups((Layout(4, (("sd", 14),)), Layout(2, (("ddpm", 10),))))
    head = PixelEnsemble(groups, [f"class {i}" for i in range(classes)], members=1).eval()
    state = head.state_dict()
    for theirs, ours in PLACES.items():
        for name in ("weight", "bias", "running_mean", "running_var"):
            value = golden.get(f"sd.{theirs}.{name}")
            if value is not None:
                state[f"{ours}.{name}"] = value.view(state[f"{ours}.{name}"].shape)
    head.load_state_dict(state)
    with torch.no_grad():
        logits = head([golden["x"], golden["ddpm"]])[0]
        peaks = [gate.weights(golden[x][None]).norm(dim=2).mean() for gate, x in zip(head.gates, ("x", "ddpm"))]
    torch.testing.assert_close(logits, golden["eval_logits"], atol=1e-5, rtol=0)
    torch.testing.assert_close(-sum(peaks), golden["eval_sparsity"][0], atol=1e-5, rtol=0)


def reading(fingerprint="1f", channels=4):
    torch.manual_seed(3)
    maps = {"up1": torch.randn(1, channels, 4, 3)}
    origin = Origin("", "sd15", fingerprint, (("lora a", fingerprint),))
    return FeatureMaps(
        maps, {"up1": Tap("up1", channels, 8, "")}, Frame((40, 30), (32, 24)), Recipe(), "a.png", origin=origin
    )


@pytest.fixture
def head():
    torch.manual_seed(0)
    groups = PixelGroups.of([[reading(), reading()]])
    sources = [Source("sd15", "1f", (("lora a", "1f"),))]
    made = PixelEnsemble(groups, ["wall", "bed", "lamp"], 3, sources=sources, palette=[[0, 0, 0], [9, 9, 9], [5, 0, 0]])
    return made.standardise([torch.randn(50, 2, 4) * 7 + 3])


def test_each_pixel_is_classified_by_its_own_vector(head):
    bucket = [reading(), reading()]
    parts = head.predict([bucket], side=None)
    x, y = 17, 33
    vector = head.groups.at([bucket], torch.tensor([[(x + 0.5) / 30, (y + 0.5) / 40]]))
    votes = head.eval()(vector)[:, 0].argmax(-1).bincount(minlength=3)
    assert parts.mask.shape == (40, 30)
    assert votes[parts.mask[y, x]] == votes.max()


def test_statistics_are_those_of_all_training_pixels(monkeypatch, head):
    monkeypatch.setattr("shiftless.tasks.pixels._ROWS", 7)
    pixels = torch.randn(50, 2, 4) * torch.tensor([1.0, 5.0, 0.1, 0.0]) + 2
    flat = head.standardise([pixels]).standardised([pixels])[0].flatten(0, 2)
    torch.testing.assert_close(flat.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(flat.std(0, correction=0), torch.tensor([1.0, 1.0, 1.0, 0.0]))


def test_a_coarser_grid_agrees_nearly_everywhere_and_memory_changes_nothing(head, monkeypatch):
    bucket = [reading(), reading()]
    fine = head.predict([bucket], side=None)
    assert (head.predict([bucket], side=20).mask == fine.mask).mean() > 0.9
    assert head.predict([bucket], size=(8, 6)).mask.shape == (8, 6)
    monkeypatch.setattr("shiftless.tasks.pixels._VALUES", 1)
    assert (head.predict([bucket], side=None).mask == fine.mask).all()


def test_it_is_saved_with_all_that_it_needs(head, tmp_path):
    path = head.save(tmp_path / "head.safetensors")
    again = PixelEnsemble.from_pretrained(path)
    bucket = [reading(), reading()]
    assert (again.predict([bucket]).mask == head.predict([bucket]).mask).all()
    assert (again.classes, again.sources, again.palette) == (head.classes, head.sources, head.palette)
    assert again.groups == head.groups


def test_features_of_another_model_adapter_or_tap_are_refused(head):
    with pytest.raises(BadInput, match="the head was fitted on, and the photo read with, two models"):
        head.predict([[reading("2e"), reading("2e")]])
    with pytest.raises(BadInput, match="two models"):
        head.predict([[reading(), reading("2e")]])
    with pytest.raises(BadInput, match=r"reading 0 holds up1 \(5\); needed is up1 \(4\)"):
        head.predict([[reading(channels=5), reading(channels=5)]])
    with pytest.raises(BadInput, match="no readings were given"):
        head.predict([])
    with pytest.raises(BadInput, match=r"group 0 of shape \(5, 3, 4\): give N 2 4"):
        head([torch.zeros(5, 3, 4)])


def test_settings_that_make_no_head_are_refused():
    groups = PixelGroups((Layout(1, (("up1", 4),)),))
    with pytest.raises(BadInput, match="give at least two classes"):
        PixelEnsemble(groups, ["wall"])
    with pytest.raises(BadInput, match="2 models for 1 buckets"):
        PixelEnsemble(groups, ["wall", "bed"], sources=[Source("a"), Source("b")])
