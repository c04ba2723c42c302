"""The embedded world's oracle: what it is taught, how it is trained and read, and what it says was invented."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from miniworld.datasets import HELD_OUT, photos
from miniworld.oracle import (
    CHANNELS,
    LABELS,
    POINTS,
    Oracle,
    OracleReport,
    find_oracle,
    invented,
    load_oracle,
    peaks,
    split,
    truth_labels,
    truth_points,
)
from miniworld.training.labelled import FIRST, LabelledPictures, draw_labelled, draw_shard, reconstructed
from miniworld.training.oracle import OracleLoss, new_oracle, point_loss, train_oracle
from miniworld.training.oracle_proof import prove_oracle, rightness
from miniworld.training.stage import Stage
from miniworld.world.picture import PARTS, SCENE_CLASSES, draw, keypoint_names
from shiftless.backbones.registry import load
from shiftless.errors import BadInput
from shiftless.image import to_uint8
from tests.interrupted import interrupt_after

TINY = {
    "depths": (1, 1, 1),
    "hidden_sizes": (8, 16, 32),
    "num_attention_heads": (1, 1, 1),
    "decoder_hidden_size": 16,
}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    draw_shard((str(folder), FIRST, 6, 32))
    draw_shard((str(folder), FIRST + 6, 4, 32))
    return folder


@pytest.fixture(scope="module")
def oracle():
    return load_oracle()


def true_report(picture) -> OracleReport:
    """What a faultless oracle says of the picture itself."""
    points = np.nan_to_num(truth_points(picture), nan=0.0)
    return OracleReport(truth_labels(picture), points, np.ones(len(POINTS), np.float32))


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("kind", ["horse", "bus", "boat"])
def test_truth_names_the_part_of_a_creature_and_else_the_scene(kind):
    picture = draw(11, kind=kind, rider=True if kind == "horse" else None)
    labels = truth_labels(picture)
    for y, x in ((y, x) for y in range(0, 128, 3) for x in range(0, 128, 3)):
        part, scene = PARTS[picture.parts[y, x]], SCENE_CLASSES[picture.scene[y, x]]
        assert LABELS[labels[y, x]] == (scene if part == "background" else part)
    points, names = truth_points(picture), keypoint_names(kind)
    for name, place, visible in zip(names, picture.keypoints, picture.visible):
        np.testing.assert_array_equal(points[POINTS.index(name)], place if visible else [np.nan, np.nan])
    assert np.isfinite(points).all(1).sum() == picture.visible.sum() > 0


def test_every_class_and_every_point_has_one_name():
    assert set(LABELS) == set(SCENE_CLASSES) - {"animal"} | set(PARTS) - {"background"}
    assert len(set(LABELS)) == len(LABELS)
    assert len(set(POINTS)) == len(POINTS)
    assert len(set(CHANNELS)) == len(CHANNELS) == 4 * len(LABELS) + len(POINTS)


def test_shards_hold_the_truth_of_their_seeds(labelled):
    data = LabelledPictures(labelled)
    assert len(data) == 10
    for i in (0, 5, 9):
        record = data.shards[i // 6][i % 6]
        picture = draw(FIRST + i, size=32)  # a look changes no label
        np.testing.assert_array_equal(record["labels"], truth_labels(picture))
        np.testing.assert_array_equal(record["points"], truth_points(picture))
    before = {path: path.stat().st_mtime_ns for path in labelled.glob("*.npy")}
    draw_labelled(labelled, 6, size=32)  # there already: nothing is drawn again
    assert before == {path: path.stat().st_mtime_ns for path in labelled.glob("*.npy")}


def test_batches_follow_seed_and_step_and_an_epoch_shows_every_picture(labelled):
    data = LabelledPictures(labelled)
    for ours, theirs in zip(data.batch(5, 0, 3), data.batch(5, 0, 3)):
        torch.testing.assert_close(ours, theirs, equal_nan=True, rtol=0, atol=0)
    assert not torch.equal(data.batch(5, 0, 3)[0], data.batch(5, 1, 3)[0])
    images, labels, points = (torch.cat(parts) for parts in zip(data.batch(5, 0, 0), data.batch(5, 0, 1)))
    every = np.concatenate([shard["image"] for shard in data.shards])
    order = [next(i for i in range(10) if np.array_equal(every[i], image)) for image in images.numpy()]
    assert sorted(order) == list(range(10))
    for row, i in enumerate(order):
        record = data.shards[i // 6][i % 6]
        options = [record["labels"][dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)]
        assert any(np.array_equal(labels[row], option) for option in options)
        np.testing.assert_array_equal(points[row], record["points"])


def test_an_empty_folder_and_foreign_seeds_are_refused(tmp_path):
    with pytest.raises(BadInput, match="no labelled pictures here"):
        LabelledPictures(tmp_path)
    with pytest.raises(BadInput, match="the seeds of 'oracle' are"):
        draw_labelled(tmp_path, 2, first=2**30 - 1)


def test_what_the_autoencoder_keeps_does_not_depend_on_the_batch():
    model = load("mini", device="cpu", dtype="fp32")
    images = np.stack([draw(i).image for i in range(3)])
    together = reconstructed(model, images)
    assert np.abs(together[1].astype(int) - reconstructed(model, images[1:2])[0]).max() <= 1
    assert 20 * np.log10(255 / np.sqrt(np.mean((together - images.astype(float)) ** 2))) > 25


def test_an_interrupted_oracle_ends_where_an_uninterrupted_one_does(tmp_path, labelled, monkeypatch):
    how = {"images": 20, "pictures": labelled, "draw": False, "device": "cpu"}
    options = {"batch": 4, "changes": TINY}
    whole = weights(train_oracle(Stage(tmp_path / "a", **how), **options))
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            train_oracle(Stage(tmp_path / "b", checkpoint_minutes=0, **how), **options)
    assert not (tmp_path / "b" / "oracle").exists()
    resumed = weights(train_oracle(Stage(tmp_path / "b", **how), **options))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert {tensor.dtype for tensor in whole.values() if tensor.is_floating_point()} == {torch.float16}
    assert str(tmp_path) not in (tmp_path / "a" / "oracle" / "config.json").read_text()

    loaded = load_oracle(tmp_path / "a").network.state_dict()
    assert loaded["decode_head.classifier.weight"].dtype == torch.float32
    stage = Stage(tmp_path / "on", **{**how, "images": 4})
    further = weights(train_oracle(stage, start_from=tmp_path / "a", **options))
    name = "decode_head.classifier.weight"
    assert 0 < (further[name].float() - whole[name].float()).abs().max() < 0.01  # a step away, not drawn anew


def test_it_learns_to_tell_two_pictures_apart(labelled):
    images, labels, points = LabelledPictures(labelled).batch(2, 0, 0)
    model = new_oracle(**TINY)
    network, optimiser = OracleLoss(model).train(), torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(150):
        optimiser.zero_grad()
        loss, right = network(images, labels, points)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]
    assert float(right) > 0.85


def test_the_loss_is_the_cross_entropy_of_labels_and_of_points():
    model = new_oracle(**TINY).eval()
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, len(LABELS), (2, 16, 16), generator=torch.Generator().manual_seed(1))
    points = torch.full((2, len(POINTS), 2), torch.nan)
    points[0, 3] = torch.tensor([10.0, 6.0])  # the centre of the cell in row 1, column 2
    points[1, 7] = torch.tensor([12.0, 6.0])  # between columns 2 and 3
    with torch.no_grad():
        scores, maps = split(model(pixel_values=images.permute(0, 3, 1, 2) / 127.5 - 1).logits)
        loss, right = OracleLoss(model)(images, labels, points)
    logs = maps.flatten(2).log_softmax(-1).reshape(maps.shape)
    one, two = -logs[0, 3, 1, 2], -(logs[1, 7, 1, 2] + logs[1, 7, 1, 3]) / 2
    torch.testing.assert_close(loss, F.cross_entropy(scores, labels) + 0.3 * (one + two) / 2)
    assert abs(float(right) - float((scores.argmax(1) == labels).float().mean())) < 0.1  # of a quarter of the cells


def test_labels_of_a_cell_stand_where_its_pixels_do():
    logits = torch.zeros(1, len(CHANNELS), 2, 2)
    logits[0, CHANNELS.index("tree 1"), 0, 0] = 9  # the upper right quarter of the upper left cell
    labels, _ = split(logits)
    assert labels[0, LABELS.index("tree")].nonzero().tolist() == [[0, 1]]


@settings(max_examples=40)
@given(x=st.floats(2, 30), y=st.floats(2, 30))
def test_the_map_that_the_point_loss_asks_for_is_read_back_as_the_point(x, y):
    maps = torch.zeros(1, 1, 8, 8, requires_grad=True)
    loss = point_loss(maps, torch.tensor([[[x, y]]]))
    (gradient,) = torch.autograd.grad(loss, maps)
    expected = (
        maps.detach().flatten().softmax(0).reshape(maps.shape) - gradient
    )  # of cross-entropy: what is less what should be
    place, mass = peaks(expected.clamp(min=0))
    np.testing.assert_allclose(place[0, 0] * 4, [x, y], atol=1e-3)
    assert abs(float(mass) - 1) < 1e-5


def test_points_that_cannot_be_seen_cost_nothing():
    maps = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    points = torch.full((2, 3, 2), torch.nan)
    assert float(point_loss(maps, points).detach()) == 0
    points[0, 0] = torch.tensor([3.0, 31.9])
    (gradient,) = torch.autograd.grad(point_loss(maps, points), maps)
    assert gradient.isfinite().all()
    assert gradient.flatten(2).abs().sum(-1).count_nonzero() == 1


def test_an_untouched_prediction_invents_nothing():
    picture = draw(21, kind="horse")
    report = true_report(picture)
    errors = invented(report, report, picture)
    assert (errors.parts, errors.appeared, errors.vanished, errors.points) == (0, 0, 0, 0)


def test_a_block_that_appears_and_one_that_vanishes_are_counted():
    picture = draw(21, kind="elephant")
    report, truth = true_report(picture), truth_labels(picture)
    body = np.isin([LABELS[i] for i in range(len(LABELS))], list(set(PARTS) - {"background"}))[truth]

    labels = truth.copy()
    labels[:10, :20] = LABELS.index("fence")
    assert "fence" not in {LABELS[i] for i in np.unique(truth[:14, :24])}
    errors = invented(report, OracleReport(labels, report.points, report.confidence), picture)
    assert errors.appeared == 200 / 128**2
    assert errors.vanished == body[:10, :20].sum() / body.sum()
    assert errors.parts > 0
    assert errors.points == 0

    labels = np.where(body, LABELS.index("grass"), truth).astype(np.uint8)
    errors = invented(report, OracleReport(labels, report.points, report.confidence), picture)
    assert errors.vanished == 1
    assert errors.parts > 0.3


def test_an_outline_that_wavers_is_not_an_invention_but_a_leg_that_moves_is():
    picture = draw(21, kind="elephant")
    report, truth = true_report(picture), truth_labels(picture)
    shifted = OracleReport(np.roll(truth, 1, axis=1), report.points, report.confidence)
    moved = OracleReport(np.roll(truth, 12, axis=1), report.points, report.confidence)
    little, much = invented(report, shifted, picture), invented(report, moved, picture)
    assert little.vanished < 0.01
    assert little.appeared < 0.02  # what comes in at the other side
    assert much.vanished > 5 * little.vanished + 0.05
    assert much.appeared > little.appeared + 0.05
    assert much.parts > little.parts > 0


def test_the_autoencoder_s_faults_are_not_the_prediction_s():
    picture = draw(21, kind="cow")
    truth = true_report(picture)
    labels = truth.labels.copy()
    labels[40:60, 40:60] = LABELS.index("road")
    kept = OracleReport(labels, truth.points + 3, truth.confidence)
    errors = invented(kept, kept, picture)
    assert (errors.parts, errors.appeared, errors.vanished, errors.points) == (0, 0, 0, 0)
    better = invented(kept, truth, picture)
    assert better.parts < 0
    assert better.points < 0


def test_points_are_measured_in_sides_of_the_box():
    picture = draw(21, kind="cow")
    report = true_report(picture)
    x0, y0, x1, y1 = picture.box
    moved = OracleReport(report.labels, report.points + np.array([3, 4], np.float32), report.confidence)
    assert invented(report, moved, picture).points == pytest.approx(5 / max(x1 - x0, y1 - y0), rel=1e-5)


def test_labels_of_another_size_are_refused():
    picture = draw(21)
    report = true_report(picture)
    with pytest.raises(BadInput, match="give one picture's, H W"):
        invented(report, OracleReport(report.labels[None], report.points[None], report.confidence[None]), picture)


def test_rightness_on_a_hand_worked_case():
    picture = draw(21, kind="cow")
    report = true_report(picture)
    both = OracleReport(
        report.labels[None].repeat(2, 0), report.points[None].repeat(2, 0), report.confidence[None].repeat(2, 0)
    )
    assert rightness(both, [picture, picture]) | {"common": 0} == {"miou": 1, "accuracy": 1, "common": 0, "pck": 1}
    both.labels[1] = LABELS.index("vehicle")
    both.points[1] += 100
    shares = rightness(both, [picture, picture])
    assert shares["accuracy"] == shares["miou"] == shares["pck"] == 0.5  # a cow's picture shows no vehicle


def test_the_shipped_oracle_knows_its_world(oracle):
    for look in ("photo", "embroidery"):
        proof = prove_oracle(oracle, 12, look)
        for scores in proof.values():
            assert scores["accuracy"] > 0.85 > scores["common"] + 0.3
            assert scores["miou"] > 0.5
            assert scores["pck"] > 0.8


def test_the_shipped_oracle_sees_what_was_painted_over(oracle):
    for seed in (HELD_OUT + 40_100, HELD_OUT + 40_103):
        picture = draw(seed, kind="horse", scene="meadow")
        x0, y0, x1, y1 = (round(v) for v in picture.box)
        gone, soft = picture.image.copy(), cv2.GaussianBlur(picture.image, (0, 0), 0.8)
        gone[y0:y1, x0 : (x0 + x1) // 2] = np.median(picture.image[-4:], axis=(0, 1))
        report = oracle.look(np.stack([picture.image, gone, soft]))
        assert invented(report[0], report[1], picture).vanished > 0.25
        assert invented(report[0], report[2], picture).vanished < 0.05


def test_more_noise_makes_the_model_invent_more(oracle):
    model, pictures = load("mini", device="cpu", dtype="fp32"), list(photos(HELD_OUT + 41_000, 6))
    images = np.stack([picture.image for picture in pictures])
    report = {0: oracle.look(reconstructed(model, images))}
    with torch.no_grad():
        clean = model.encode_image(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        for t in (50, 500):
            noisy = model.schedule.add(clean, noise, t)
            prediction = model.denoise(noisy, t, model.encode_prompt([""] * len(images))).prediction
            report[t] = oracle.look(to_uint8(model.decode(model.predict_clean(noisy, prediction, t))))
    for name in ("parts", "appeared", "vanished", "points"):
        means = [
            np.mean([getattr(invented(report[0][i], report[t][i], one), name) for i, one in enumerate(pictures)])
            for t in report
        ]
        assert means[0] == 0, name
        assert means[1] < 0.05, name
        assert means[1] + 0.01 < means[2], name


def test_looks_do_not_depend_on_the_batch_and_fit_the_picture(oracle):
    images = np.stack([draw(HELD_OUT + 40_200 + i).image for i in range(3)])
    together, alone = oracle.look(images), oracle.look(images[1:2])
    assert (together[1].labels != alone[0].labels).mean() < 1e-3
    np.testing.assert_allclose(together[1].points, alone[0].points, atol=1e-2)
    assert ((together.confidence > 0) & (together.confidence <= 1 + 1e-5)).all()
    large = oracle.look(images[:1].repeat(2, 1).repeat(2, 2))
    assert large.labels.shape == (1, 256, 256)
    assert (large[0].labels[::2, ::2] == together[0].labels).mean() > 0.95
    sure = together[0].confidence > 0.6
    assert sure.sum() >= 3
    np.testing.assert_allclose(large[0].points[sure] / 2, together[0].points[sure], atol=2)


@pytest.mark.parametrize(
    "pictures",
    [np.zeros((128, 128, 3), np.uint8), np.zeros((1, 128, 128, 3), np.float32), np.zeros((0, 128, 128, 3), np.uint8)],
)
def test_other_arrays_are_refused(pictures):
    with pytest.raises(BadInput, match="looks at B H W 3 uint8"):
        Oracle(new_oracle(**TINY)).look(pictures)


def test_a_folder_that_is_no_oracle_is_refused_in_one_line(tmp_path):
    new_oracle(**TINY).save_pretrained(tmp_path / "other")
    text = (tmp_path / "other" / "config.json").read_text()
    (tmp_path / "other" / "config.json").write_text(text.replace('"sky 0"', '"heaven 0"'))
    with pytest.raises(BadInput, match="other labels or points"):
        load_oracle(tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text(text)
    (tmp_path / "other" / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(BadInput, match="not an oracle that can be loaded") as caught:
        load_oracle(tmp_path / "other")
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="no oracle here"):
        find_oracle(tmp_path)


def test_it_fits_in_the_package():
    files = [path for path in find_oracle().iterdir() if path.is_file()]
    assert {path.name for path in files} == {"config.json", "model.safetensors"}
    assert sum(path.stat().st_size for path in files) <= 4e6
