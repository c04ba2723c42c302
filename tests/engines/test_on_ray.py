"""Ray: two nodes on this machine read what one process reads, to the bit, though one of their actors is killed.

So they do into a compressed store, from the command line: one actor learns what encodes it, then both read on.

Ray takes half a minute of processor time to start two nodes and their workers, so that this runs where the environment
has SHIFTLESS_TEST_RAY=1.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shiftless.cli import main
from shiftless.engines.run import run
from shiftless.errors import BadInput
from shiftless.store.manifest import Manifest
from shiftless.store.place import place_of
from shiftless.store.sample import PHOTOS
from shiftless.store.transforms import TRANSFORMS
from shiftless.store.verify import verify
from tests.workers import maps_of, same

pytestmark = pytest.mark.skipif(
    os.environ.get("SHIFTLESS_TEST_RAY") != "1", reason="takes a minute; set SHIFTLESS_TEST_RAY=1 to run it"
)


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two nodes with one processor each, to which this process is connected."""
    ray = pytest.importorskip("ray", reason='needs the extra "ray"')
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def actors():
    """The processes of the actors that read photos, on the nodes that this process has started."""
    import psutil

    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if title.startswith("ray::") and "Reader" in title:
            found.append(process)
    return found


def test_two_nodes_read_what_one_process_reads_though_an_actor_is_killed(cluster, given, job):
    import ray

    assert len([node for node in ray.nodes() if node["Alive"]]) == 2
    killed, seen = [], set()

    def done(result):
        here = actors()
        seen.update(process.pid for process in here)
        if not killed and here:
            killed.append(here[0].pid)
            here[0].kill()
            here[0].wait(10)

    begun = time.monotonic()
    result = run("ray", job, given.paths, 2, cpus=1, done=done)
    print(f"\n{time.monotonic() - begun:.0f} s; actors {sorted(seen)}, killed {killed}")
    assert len(killed) == 1
    assert (result.done + result.there, result.failed) == (10, given.result.failed)
    assert same(maps_of(Path(job.out)), given.maps)
    assert Manifest.of(place_of(job.out)).commit == 2  # the empty store, and all of it at once
    assert os.listdir(Path(job.out, ".shiftless", "parts")) == []


def test_a_compressed_store_is_to_the_bit_that_of_one_process(cluster, tmp_path, monkeypatch):
    """One actor reads the photos that the transform is learned from, then both read the rest."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(PHOTOS + 8):
        pixels = np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{i:02}.png")
    monkeypatch.chdir(tmp_path)
    given = ["-m", "twin:sd15", "--taps", "up1", "--size", "64", "--device", "cpu", "--dtype", "fp32"]
    given += ["--compress", "pca:8", "--batch", "2"]
    for out, *engine in (["alone.zarr"], ["ray.zarr", "--engine", "ray", "--workers", "2", "--worker-cpus", "1"]):
        begun = time.monotonic()
        monkeypatch.setattr(sys, "argv", ["shiftless", "extract", "photos", "-o", out, *given, *engine])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        print(f"\n{out}: {time.monotonic() - begun:.0f} s")
    (learned,), (expected,) = (list((tmp_path / out / TRANSFORMS).iterdir()) for out in ("ray.zarr", "alone.zarr"))
    assert learned.read_bytes() == expected.read_bytes()
    assert same(maps_of(tmp_path / "ray.zarr"), maps_of(tmp_path / "alone.zarr"))
    place = place_of("ray.zarr")
    shown = Manifest.opened(place)
    assert [one.rows for one in shown.groups.values()] == [PHOTOS + 8]
    assert verify(place, shown).faults == []
    assert os.listdir(tmp_path / "ray.zarr" / ".shiftless" / "parts") == []


def test_what_a_worker_refuses_and_what_the_cluster_lacks_are_one_line(cluster, given, job):
    with pytest.raises(BadInput, match="nowhere"):
        run("ray", replace(job, model="nowhere"), given.paths[:2], 1, cpus=1)
    with pytest.raises(BadInput, match="asks for 3 GPU, and the cluster has 0"):
        run("ray", job, given.paths, 1, gpus=3)
