"""Photos of two shapes, read once by two recipes of a tiny model, for the tests of stores."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

import shiftless
from shiftless.image import open_photo
from shiftless.store.writer import StoreWriter

RECIPES = [
    shiftless.Recipe(taps=("up0", "up1"), size=128, label="plain"),
    shiftless.Recipe(taps=("up1",), size=128, seed=1, label="again"),
]


@pytest.fixture(scope="session")
def work():
    """What is written: `model` (all that a writer needs of one), `recipes`, `photos` and their `buckets`, in fp16.

    Every third photo, from the first on, is wide: 64 x 128 pixels; the others have 128 x 128.
    """
    model = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    pixels = [np.random.default_rng(i).integers(0, 256, (128, 128, 3), dtype=np.uint8) for i in range(10)]
    photos = [open_photo(array[: 128 if i % 3 else 64], f"{i}.png") for i, array in enumerate(pixels)]
    buckets = shiftless.extract(model, photos, RECIPES, dtype="fp16")
    known = SimpleNamespace(spec=model.spec, fingerprint=model.fingerprint, dtype=model.dtype)  # digested once
    return SimpleNamespace(model=known, recipes=RECIPES, photos=photos, buckets=buckets)


@pytest.fixture(scope="session")
def s3():
    """What fsspec takes to reach an S3 server on this machine, which has three buckets.

    bucket   compares before it puts or deletes, as S3 does
    refuses  answers that it cannot, as some servers do
    ignores  puts and deletes whatever is there, as others do
    """
    pytest.importorskip("moto", reason='needs the extra "dev"')
    s3fs = pytest.importorskip("s3fs", reason='needs the extra "dev"')
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    app, turn = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def one_after_another(environ, start):  # moto compares ETags and puts in two steps, S3 in one
        bucket = environ["PATH_INFO"].split("/")[1]
        conditions = {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"} & set(environ)
        if bucket == "refuses" and conditions:
            start("501 Not Implemented", [("Content-Type", "application/xml")])
            return [b"<Error><Code>NotImplemented</Code></Error>"]
        if bucket == "ignores":
            environ = {key: value for key, value in environ.items() if key not in conditions}
        with turn:
            return list(app(environ, start))

    server = make_server("127.0.0.1", 0, one_after_another, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = {"endpoint_url": f"http://127.0.0.1:{server.port}", "key": "testing", "secret": "testing"}
    for bucket in ("bucket", "refuses", "ignores"):
        s3fs.S3FileSystem(**options).mkdir(bucket)
    yield options
    server.shutdown()


@pytest.fixture(scope="session")
def write(work):
    """Write some of the photos into a store, all by default; return how many had to be read."""

    def run(target, which=range(10), recipes=RECIPES, shard=4, model=None, **more):
        read = 0
        with StoreWriter(target, model or work.model, recipes, shard=shard, **more) as writer:
            writer.recover()
            for i in which:
                if writer.claim(work.photos[i]):
                    bucket = work.buckets[i]
                    chosen = [bucket[RECIPES.index(recipe)] for recipe in recipes]
                    writer.write(chosen)
                    read += 1
        return read

    return run
