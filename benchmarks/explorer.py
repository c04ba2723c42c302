"""How long a click in the explorer takes, alone and with ten tabs at once, by HTTP from this machine.

    python -m benchmarks.explorer                        # the embedded model and drawn pictures
    python -m benchmarks.explorer --model sd15 --photos photos/ --seconds 60

Photos are read into memory first. A click asks for a random point of a random photo in three others, by one recipe, and
waits for the answer: points, cosines and heat maps. It prints the median and the 95th percentile in milliseconds.
"""

from __future__ import annotations

import argparse
import http.client
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

import shiftless
from shiftless.explore.app import create_app
from shiftless.explore.explorer import Explorer
from shiftless.explore.serve import bound
from shiftless.presets import Preset, default_recipe


@contextmanager
def served(explorer: Explorer) -> Iterator[int]:
    """Serve an explorer for a while: the port."""
    import uvicorn

    with bound("127.0.0.1", 0) as opened:
        config = uvicorn.Config(create_app(explorer), log_level="error", access_log=False, ws="none", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield opened.getsockname()[1]
        server.should_exit = True
        thread.join(timeout=10)


class Tab:
    """A browser tab that clicks: its times in seconds, and how many answers were refused."""

    def __init__(self, port: int, number: int, sizes: list[tuple[int, int]]) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        self.headers = {"X-Shiftless-Client": f"bench-{number:04d}", "Content-Type": "application/json"}
        self.chance, self.sizes = np.random.default_rng(number), sizes
        self.times: list[float] = []
        self.refused = 0

    def post(self, path: str, body: object) -> int:
        """Ask, and read the whole answer: its status."""
        self.connection.request("POST", path, json.dumps(body), self.headers)
        answer = self.connection.getresponse()
        answer.read()
        return answer.status

    def click(self) -> None:
        """Ask for one point."""
        first, *others = (int(n) for n in self.chance.permutation(len(self.sizes))[:4])
        width, height = self.sizes[first]
        point = [float(self.chance.uniform(0, width)), float(self.chance.uniform(0, height))]
        began = time.perf_counter()
        status = self.post("/api/match", {"photo": first, "point": point, "targets": others, "recipes": [0]})
        self.times.append(time.perf_counter() - began)
        self.refused += status != 200

    def click_for(self, seconds: float) -> None:
        """Click again as soon as an answer is there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.click()


def drawn(folder: Path, count: int) -> None:
    """Draw pictures of the embedded model's own world."""
    from miniworld.datasets import SEEDS, photos

    for number, picture in enumerate(photos(SEEDS["shown"].start, count)):
        Image.fromarray(np.asarray(picture.image)).save(folder / f"{number:02d}.png")


def said(name: str, times: list[float]) -> str:
    """Write the percentiles of some times.

    >>> said("one tab", [0.010, 0.020, 0.030])
    'one tab: 3 clicks, median 20.0 ms, 95th percentile 29.0 ms'
    """
    middle, high = (1000 * float(np.percentile(times, q)) for q in (50, 95))
    return f"{name}: {len(times)} clicks, median {middle:.1f} ms, 95th percentile {high:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--photos", type=Path, help="a folder of four pictures or more; else drawn ones")
    parser.add_argument("--clicks", type=int, default=200, help="of one tab")
    parser.add_argument("--tabs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the tabs click at once")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = args.photos or Path(made)
        if args.photos is None:
            drawn(folder, 8)
        model = shiftless.load(args.model)
        usual = default_recipe(model.spec.name, model.spec.family)
        explorer = Explorer.of(model, [folder], [Preset("plain", "", (usual,), "")])
        sizes = [explorer.album.photo(n).hw[::-1] for n in range(min(8, len(explorer.album)))]
        with served(explorer) as port:
            tabs = [Tab(port, number, sizes) for number in range(args.tabs)]
            tabs[0].post("/api/read", {"photos": list(range(len(sizes))), "recipes": [0]})
            for _ in range(20 + args.clicks):
                tabs[0].click()
            print(said("one tab", tabs[0].times[20:]))
            tabs[0].times = []
            threads = [threading.Thread(target=tab.click_for, args=(args.seconds,)) for tab in tabs]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            every = [one for tab in tabs for one in tab.times]
            print(said(f"{args.tabs} tabs for {args.seconds:g} s", every))
            print(f"{len(every) / args.seconds:.0f} clicks a second; {sum(tab.refused for tab in tabs)} refused")
        explorer.close()


if __name__ == "__main__":
    main()
