"""Scripts behind figures: PF-WILLOW's conversion by a made copy of its layout, memory, and counted costs."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from shiftless.data.pairs import read_pairs
from shiftless.image import open_photo
from shiftless.recipe import Recipe

ROOT = Path(__file__).parents[1] / "benchmarks"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_script", ROOT / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def willow(tmp_path):
    """Two classes of three pictures with ten points each, in the published layout."""
    rng = np.random.default_rng(0)
    for kind in ("car(G)", "duck(S)"):
        place = tmp_path / "PF" / kind
        place.mkdir(parents=True)
        for i in range(3):
            Image.fromarray(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(place / f"{i}.png")
            points = np.vstack([rng.uniform(0, 89, 10), rng.uniform(0, 59, 10)])
            points[:, 0] = (4.5, 6.25)
            points[:, 1] = (80.0, 50.0)
            savemat(place / f"{i}.mat", {"pts_coord": points})
    return tmp_path / "PF"


def test_pf_willow_becomes_a_folder_of_all_ordered_pairs_within_a_class(willow, tmp_path, capsys):
    assert script("pf_willow").main([str(willow), str(tmp_path / "out")]) == 0
    assert "12 pairs" in capsys.readouterr().out
    pairs = read_pairs(tmp_path / "out")
    assert len(pairs) == 2 * 3 * 2
    assert {pair.category for pair in pairs} == {"car(G)", "duck(S)"}
    assert all(Path(pair.source).parent == Path(pair.target).parent for pair in pairs)
    assert pairs[0].source_size == (60, 90)
    np.testing.assert_allclose(pairs[0].source_points[0], (5.0, 6.75))  # pixel centres lie at + 0.5 here
    low, high = pairs[0].target_points.min(0), pairs[0].target_points.max(0)
    np.testing.assert_allclose(pairs[0].target_box, (*low, *high))  # PF-WILLOW's box is that of the keypoints


def test_what_is_not_pf_willow_is_refused_in_one_line(willow, tmp_path, capsys):
    (willow / "duck(S)" / "1.mat").unlink()
    assert script("pf_willow").main([str(willow), str(tmp_path / "out")]) == 2
    assert "there is no 1.mat beside it" in capsys.readouterr().err
    (willow / "duck(S)" / "1.mat").write_bytes(b"hello")
    assert script("pf_willow").main([str(willow), str(tmp_path / "out")]) == 2
    assert "1.mat: no keypoints in it" in capsys.readouterr().err
    assert script("pf_willow").main([str(tmp_path / "nowhere"), str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_audit_s_peak_memory_is_that_of_its_process(tmp_path, capsys):
    memory = script("audit_memory")
    quick = ["--timestep", "100", "--model", "twin:sd15", "--size", "64", "--draws", "1", "--finish", "0"]
    memory.main(["--counts", "1", "--", *quick])
    count, size = capsys.readouterr().out.split(" photos: ")
    assert count == "1"
    assert 150 < float(size.split()[0]) < 4000  # torch alone takes more than 150 MB
    with pytest.raises(SystemExit, match="nowhere"):
        memory.peak_bytes(["nowhere"])


def test_memory_that_grows_with_the_photos_is_seen_in_each_tenth(tmp_path, capsys):
    memory = script("extract_memory")
    paths = list(memory.draw(tmp_path / "photos", 10))
    rows = memory.measure(tmp_path / "photos", str(tmp_path / "a.zarr"), "twin:sd15")
    assert (len(paths), [row["photos"] for row in rows]) == (10, list(range(1, 11)))
    assert all(row["peak MB"] > 100 and row["CPU ms a photo"] > 0 for row in rows)
    if not sys.platform.startswith("linux"):
        return  # where the peak cannot be reset
    watch, kept, large = memory.Watch(20), [], np.ones(2**24)
    for _ in range(20):
        watch(kept.append(np.ones(2**18)))  # 2 MiB a photo, and 128 MiB during the first tenth
        large = large[:0].copy() if len(kept) == 2 else large
    peaks = [row["peak MB"] for row in watch.rows]
    assert peaks[0] - peaks[2] > 100
    assert 15 < peaks[-1] - peaks[2] < 35  # of 28 MiB
    memory.show(watch.rows)
    grown = int(capsys.readouterr().out.split("(")[1].split(" bytes")[0])
    assert grown == round((peaks[-1] - peaks[1]) * 1e6 / 16)


def test_pictures_for_memory_are_measured_by_no_table(tmp_path):
    script("audit_memory").draw(tmp_path / "photos", 2)
    assert len(list((tmp_path / "photos").glob("*.png"))) == 2


def test_quantised_features_are_compared(capsys):
    pytest.importorskip("torchao", reason='needs the extra "quantise"')
    pytest.importorskip("bitsandbytes", reason='needs the extra "quantise"')
    script("quantised").main(["twin:sd15", "--size", "64", "--taps", "up1,up2", "--device", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[1].split()[1:] for line in lines] == [
        [k, t] for k in ("int8", "nf4") for t in ("up1", "up2")
    ]
    means = [float(line.split("cosine ")[1].split(",")[0]) for line in lines]
    assert min(means[:2]) > 0.999 > max(means[2:]) > 0.97


def test_the_cost_of_training_is_counted():
    counted = script("segment_cost")
    a, b = torch.zeros(2, 3, requires_grad=True), torch.zeros(5, 3)
    flops, result = counted.flops_of(lambda: torch.nn.functional.linear(a, b).sum().backward())
    assert (flops, result) == (2 * 2 * (2 * 3 * 5), None)  # there, and back to one of the two
    kept = counted.Kept([])
    kept.pack(a)
    kept.pack(a[:1])
    assert kept.bytes() == 2 * 3 * 4
    setting = counted.Setting("plain", (Recipe(taps=("up0",)),), 2, "linear", 8, "prompts", 77 + 16)
    one = counted.cost(setting, 64, full=False)
    head = 64 * 150 + 150 + 2 * 64  # of 64 channels: a layer with its bias, and a norm
    assert (one.learning, one.states) == (head + 16 * 32, 12 * (head + 16 * 32))
    assert one.flops > 3 * 2 * 2 * (64 * 150)
    assert one.activations > 0


def test_the_memory_of_a_fit_is_measured_on_maps_of_the_true_shapes(capsys):
    memory = script("segment_memory")
    (one,) = memory.photos(1, 2, side=64)
    assert [tuple(value.shape) for value in one.buckets[0][0].values()] == [
        (1, 1280, 16, 16), (1, 1280, 32, 32), (1, 640, 64, 64), (1, 320, 64, 64),
    ]  # fmt: skip
    assert one.mask.shape == (64, 64)
    assert len(np.unique(one.mask)) > 10
    assert memory.peak_bytes() > 1e8


def test_searches_are_timed_and_the_engines_compared(tmp_path, capsys):
    given = ["--photos", "3", "--queries", "2", "--model", "twin:sd15", "--store", str(tmp_path / "a.zarr")]
    script("search").main(given)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("3 photos, ")
    assert [line.split(",")[0] for line in lines[:2]] == ["torch", "torch"]
    assert not any("OTHER HITS" in line for line in lines)


def test_every_way_of_the_pipeline_gives_the_model_the_same_pixels(tmp_path, capsys):
    import shiftless

    pipeline = script("pipeline")
    pipeline.draw_photos(tmp_path / "photos", 3, (48, 64))
    paths = sorted((tmp_path / "photos").iterdir())
    given = pipeline.ways(paths, 64, 1, 0.01, tmp_path)
    pipeline.compare(given)
    with pytest.raises(SystemExit, match="loader gives other pixels"):
        pipeline.compare({**given, "loader": lambda: (1 - pixels for pixels in given["dataloader"]())})
    assert list(given["extract"]()) == []
    (store,) = tmp_path.glob("*.zarr")
    assert shiftless.FeatureStore(store).photos == [str(path) for path in paths]
    numbers = dict.fromkeys(pipeline.WAYS, 1.0)
    whats = ("photos a second", "of pillow", "CPU ms a photo", "of pillow in CPU time")
    pipeline.show([{"cores": 1, **dict.fromkeys(whats, numbers), "CPU ms of a digest": 0.1}], {"cpu": "x"})
    assert "of Pillow's speed the loader reaches 100% (target 90%)" in capsys.readouterr().out


def test_a_tiny_encoder_is_compared_with_the_autoencoder_and_missing_weights_are_told_in_one_line(capsys):
    import shiftless

    tiny, model = script("tiny_encoder"), shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    one = torch.rand(1, 3, 2, 2)
    assert tiny.cosine(one, 2 * one) == pytest.approx(1)
    assert tiny.operations(lambda: torch.ones(2, 3) @ torch.ones(3, 5)) == 2 * 2 * 3 * 5
    found = tiny._of_latents(model, "taesd", [open_photo(np.zeros((16, 16, 3), np.uint8))])
    assert found["operations"][1] < found["operations"][0]
    two = {name: [0.5, 0.25] for name in ("pck", "low", "high")}
    tiny.show({**found, **two, "features": 0.9, "pairs": 1, "difference": (-0.25, -0.5, 0)})
    assert "difference -0.250 [-0.500, +0.000]" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="nowhere: no such folder"):
        tiny.main("twin:sd15", "nowhere", 1, "val", "fp32", None)


def test_a_bucket_is_counted_by_the_calls_that_are_really_made():
    import shiftless

    bucket = script("bucket")
    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")

    class Weighed:
        encoder, denoiser = (lambda self, tiny: 1), (lambda self, call: 10)
        controls = lambda self, call: call.controls  # noqa: E731

    three = [Recipe(latent="sample"), Recipe(latent="sample", seed=1), Recipe(control="canny", start=52)]
    ways = bucket.ways(bucket.without_loras(three), 1)
    expected = {"apart": (3, 5, 3), "bucket": (2, 5, 3), "tiny": (1, 4, 2)}  # encodings, rows, rows with a ControlNet
    for way, (encoded, rows, controls) in expected.items():
        found = bucket.measure(model, Weighed(), ways[way])
        assert found == {"encoder": encoded, "denoiser": 10 * rows, "ControlNet": controls, "rows": rows}, way
    assert [len(ways[way][0]) for way in ("one", "few steps", "no walk")] == [1, 3, 3]


def test_operations_are_counted_as_by_hand_and_up_to_where_reading_ends():
    import torch

    flops = script("flops")
    conv = torch.nn.Conv2d(3, 8, 3, padding=1, device="meta")
    assert flops.counted(lambda: conv(torch.zeros(2, 3, 10, 12, device="meta"))) == 2 * 2 * 8 * 10 * 12 * 3 * 9
    found = flops.operations("sd15", 64, full=False)
    to = [found[f"denoiser to up{i}"] for i in range(4)]
    assert 0 < to[0] < to[1] < to[2] < to[3] < found["denoiser"]
    last = 2 * 4 * 8 * 8 * 32 * 9  # what follows the last block is one convolution, from 32 channels to 4
    assert found["denoiser"] - to[3] == last
    assert flops.hours(3.6e12, 1e6, 1e15, 0.5) == pytest.approx(2)


def test_compressed_stores_are_scored_on_pairs(capsys):
    script("compressed").main(["--pairs", "2", "--compress", "none,pca:192,pq:4", "--sample", "2"])
    none, exact, coarse = (line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:])
    assert (none[0], exact[0], coarse[0]) == ("| none", "| pca:192", "| pq:4")
    assert exact[3] == none[3]  # all components
    assert int(none[1].replace(",", "")) == 2 * 192 * 16 * 16
    assert coarse[1] == "1,024"


def test_runtimes_compute_the_same_networks_with_the_same_weights(tmp_path, capsys):
    pytest.importorskip("torchao", reason='needs the extra "quantise"')
    runtimes, place = script("runtimes"), tmp_path / "numbers.json"
    with torch.no_grad():
        encoder, denoiser = runtimes.parts_of("sd15", 64, torch.float32, full=False)
        before, blocks = denoiser.read(denoiser.network, *denoiser.inputs), runtimes.shared(denoiser.network)
        runtimes.compile_blocks(blocks.up_blocks[1], backend="eager")  # hooks and the early stop lie between graphs
        compiled = denoiser.read(blocks, *denoiser.inputs)
    counted = script("flops").operations("sd15", 64, full=False)
    assert encoder.operations == counted["encoder"]
    assert counted["denoiser to up2"] < denoiser.operations <= counted["denoiser to up3"]
    assert tuple(before) == runtimes.TAPS
    assert all(torch.equal(compiled[name], before[name]) for name in before)
    assert [one._compiled_call_impl is None for one in blocks.up_blocks[1].resnets] == [False] * 3
    assert denoiser.network.up_blocks[1].resnets[0]._compiled_call_impl is None
    runtimes.main("sd15", 64, "fp32", "encoder,denoiser", "contiguous,int8,int8-dynamic", 1, True, place)
    found = json.loads(place.read_text())
    assert all(sum(spent.values()) == pytest.approx(1) for spent in found["shares"].values())
    rows = {(row["part"], row["way"]): row for row in found["rows"]}
    likeness = {way: row["cosine"] for (_, way), row in rows.items()}
    assert list(rows) == [("encoder", "contiguous"), *(("denoiser", way) for way in likeness)]
    assert likeness["contiguous"] == pytest.approx(1)
    assert likeness["int8-dynamic"] < likeness["int8"] < likeness["contiguous"]
    assert f"{rows['denoiser', 'int8']['faster']:.2f} | " in capsys.readouterr().out


def test_a_runtime_is_worth_having_if_it_is_faster_and_alike():
    runtimes = script("runtimes")
    assert runtimes.worth({"faster": 1.1, "cosine": 0.9991})
    assert not runtimes.worth({"faster": 1.09, "cosine": 1.0})
    assert not runtimes.worth({"faster": 2.0, "cosine": 0.9989})
    assert not runtimes.worth({"faster": 2.0, "cosine": float("nan")})
    conv, image = torch.nn.Conv2d(64, 64, 3, padding=1), torch.randn(1, 64, 64, 64)
    spent = runtimes.shares(lambda: conv(image).relu())
    assert spent["convolutions"] > 0.5 > spent["all else"] > 0 == spent["attention"]


def test_openvino_computes_what_torch_does():
    pytest.importorskip("openvino", reason="not a dependency: benchmarks/runtimes.py alone tries it")
    runtimes = script("runtimes")
    with torch.no_grad():
        for part in runtimes.parts_of("sd15", 64, torch.float32, full=False):
            plain, there = part.read(part.network, *part.inputs), runtimes.with_openvino(part)()
            assert list(there) == list(plain)
            assert runtimes.likeness(there, plain) > 0.999


def test_a_photo_is_timed_by_the_presets_of_published_tables(capsys):
    timing = script("published_time")
    (row,) = timing.rows(["gate-spair"], size="twin")
    assert (row.preset, row.readings) == ("gate-spair", 7)
    assert row.cpu > 0
    assert f"gate-spair {row.readings:>14} readings" in capsys.readouterr().out
    page = (ROOT.parent / "docs" / "reproduce.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in timing.PRESETS)
