"""What `segment test`, `predict` and `label-next` take: a head's file, a network's folder, or a scene head's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from shiftless.cli.answer import note_what_it_is_for
from shiftless.cli.flags import filler
from shiftless.errors import BadInput

if TYPE_CHECKING:
    from shiftless.bench.table import Table
    from shiftless.data.labelledphoto import LabelledPhotos
    from shiftless.metrics.segmentation import Confusion
    from shiftless.reading.together import Reader
    from shiftless.tasks.parts import Parts
    from shiftless.tasks.pixels import PixelEnsemble
    from shiftless.tasks.scenehead import SceneHead
    from shiftless.training.segmentation_network import SegmentationNetwork


class Segmenter(Protocol):
    """What says what every pixel of photos shows, with all that it needs to read them.

    what       "head" or "network", for messages     classes, palette  of it; the palette may be None
    mark       tells its masks from those of others  fitted_on         names of photos, as far as it knows them
    described  whether its answers describe a photo, so that photos can be compared
    """

    what: str
    classes: tuple[str, ...]
    palette: list[list[int]] | None
    mark: str
    fitted_on: tuple[str, ...]
    described: bool

    def predicted(self, photos: Sequence[Any], skipped: list[str] | None = None) -> Iterator[tuple[Any, Parts]]:
        """Yield each photo's path and parts; one that cannot be read is left out, and `skipped` gets its message."""

    def score(
        self, labelled: LabelledPhotos, name: str, each: Callable[..., object] | None
    ) -> tuple[Table, list[Confusion]]:
        """Return the table of scores, and the counts of each photo."""


def open_segmenter(
    path: Path,
    models: list[str],
    photos: Sequence[Path],
    *,
    side: int,
    stride: int | None = None,
    fill: list[str] | None = None,
    captions: Path | None = None,
    batch: int | None = None,
    device: str = "auto",
    **how: Any,
) -> Segmenter:
    """Open whatever segments at a path, and load the models that it reads photos with.

    photos  the places of the photos that it will read, by which captions are found
    side    of the grid that a head of `segment fit` classifies
    stride  pixels between the windows that a head of `segment train` reads photos by; 0 reads them as a whole

    Raises BadInput for a path of something else, and flags that mean nothing for it.
    """
    from shiftless.tasks.scenehead import SceneHead
    from shiftless.training.segmentation_network import SegmentationNetwork

    scenes = SceneHead.is_at(path)
    if stride is not None and not scenes:
        raise BadInput(f"{path}: --stride is for a head of `segment train`; leave it out")
    if SegmentationNetwork.is_at(path):
        if models:
            raise BadInput(f"{path}: a network reads photos by itself; leave --model out")
        return _ByNetwork(SegmentationNetwork.open(path, device=device))
    if scenes:
        head = scene_head_in(path)
        if stride and not head.window:
            raise BadInput(f"{path}: was trained on photos that were read as a whole; leave --stride out")
        reading: dict[str, Any] = {"fill": filler(head.recipes, fill, captions, photos), "batch": batch}
        reading["stride"] = (head.window if stride is None else stride) or None
        reader = scene_reader(head, path, models, device=device, **how)
        return _ByScenes(head.to(reader.model.device), reader, path, reading)
    ensemble = head_in(path)
    readers = own_readers(ensemble, models, device=device, **how)
    reading = {"fill": filler(ensemble.recipes, fill, captions, photos), "batch": batch}
    return _ByEnsemble(ensemble, readers, path, side, reading)


def head_in(path: Path) -> PixelEnsemble:
    """The head of a file that `segment fit` wrote."""
    from shiftless.tasks.pixels import PixelEnsemble
    from shiftless.training.segmentation_network import SegmentationNetwork

    if SegmentationNetwork.is_at(path):
        raise BadInput(f"{path}: a network, not a head; give the file that `segment fit` wrote")
    head = PixelEnsemble.from_pretrained(path)
    if not head.recipes or not head.sources:
        raise BadInput(f"{path}: does not say which model and recipes it reads with; fit it with shiftless segment fit")
    return head


def scene_head_in(path: Path) -> SceneHead:
    """The head of a folder that `segment train` wrote."""
    from shiftless.tasks.scenehead import SceneHead

    head = SceneHead.from_pretrained(path)
    if not head.recipes or head.source is None:
        raise BadInput(f"{path}: does not say which model and recipes it reads with; train it with segment train")
    return head


def scene_reader(head: SceneHead, path: Path, models: Sequence[str] = (), **how: Any) -> Reader:
    """The model that a head of `segment train` reads with, loaded, with what was tuned of it."""
    from shiftless.tuning.saved import tuned_for

    (reader,) = _readers(models or [head.source.model], [head.recipes], **how)  # type: ignore[union-attr]
    return reader._replace(model=tuned_for(head, path, reader.model))


def own_readers(head: PixelEnsemble, models: list[str], **how: Any) -> list[Reader]:
    """The models that a head reads with, loaded, each with its recipes."""
    from shiftless.header import Origin

    recipes, first = [], 0
    for layout in head.groups.layouts:
        size = layout.readings + len(layout.attention)
        recipes.append(head.recipes[first : first + size])
        first += size
    readers = _readers(models or [source.model for source in head.sources], recipes, **how)
    for source, reader in zip(head.sources, readers):
        model = Origin(model=reader.model.spec.name, fingerprint=reader.model.fingerprint)
        if conflict := source.origin.conflict(model):
            raise BadInput(f"the head was fitted on, and the photos are to be read with, {conflict}")
    return readers


def _readers(names: Sequence[str], recipes: Sequence[Any], **how: Any) -> list[Reader]:
    from shiftless.backbones.registry import load
    from shiftless.reading.together import Reader

    if len(names) != len(recipes):
        raise BadInput(f"{len(names)} models were given; the head reads with {len(recipes)}: repeat --model")
    readers = [Reader(load(name, **how), tuple(own)) for name, own in zip(names, recipes)]
    note_what_it_is_for(readers[0].model)
    return readers


class _ByEnsemble:
    """A head of `segment fit`."""

    what, described = "head", True

    def __init__(
        self, head: PixelEnsemble, readers: Sequence[Reader], path: Path, side: int, reading: dict[str, Any]
    ) -> None:
        from shiftless.digest import digest_of, digest_of_file

        self.head, self.readers, self.side, self.reading = head, readers, side, reading
        self.classes, self.palette, self.fitted_on = head.classes, head.palette, head.photos
        self.mark = digest_of(digest_of_file(path), side)

    def predicted(self, photos: Sequence[Any], skipped: list[str] | None = None) -> Iterator[tuple[Any, Parts]]:
        from shiftless.reading.together import stream_together

        missing: list[str] = [] if skipped is None else skipped
        by_name = {str(path): path for path in photos}
        if not photos:
            return
        for buckets in stream_together(self.readers, list(photos), skipped=missing, progress=True, **self.reading):
            parts = self.head.predict(buckets, side=self.side)
            yield by_name[parts.name], parts

    def score(
        self, labelled: LabelledPhotos, name: str, each: Callable[..., object] | None
    ) -> tuple[Table, list[Confusion]]:
        from shiftless.bench.parts import run

        options: dict[str, Any] = {"side": self.side, "each": each, "progress": True, **self.reading}
        return run(self.head, self.readers, labelled, name=name, **options)


class _ByNetwork:
    """A network of `segment distill`, or any other folder of a SegFormer."""

    what, described = "network", False
    fitted_on: tuple[str, ...] = ()

    def __init__(self, network: SegmentationNetwork) -> None:
        self.network = network
        self.classes, self.palette, self.mark = network.classes, network.palette, network.fingerprint

    def predicted(self, photos: Sequence[Any], skipped: list[str] | None = None) -> Iterator[tuple[Any, Parts]]:
        from shiftless.progress import count, track

        for path in track(photos, f"segmenting {count(len(photos), 'photo')}"):
            yield path, self.network.predict(path)

    def score(
        self, labelled: LabelledPhotos, name: str, each: Callable[..., object] | None
    ) -> tuple[Table, list[Confusion]]:
        from shiftless.bench.network import run

        return run(self.network, labelled, name=name, each=each, progress=True)


class _ByScenes:
    """A head of `segment train`."""

    what, described = "head", True
    fitted_on: tuple[str, ...] = ()

    def __init__(self, head: SceneHead, reader: Reader, path: Path, reading: dict[str, Any]) -> None:
        from shiftless.amalgamate.saved import WEIGHTS
        from shiftless.digest import digest_of, digest_of_file

        self.head, self.reader, self.reading = head, reader, reading
        self.classes, self.palette = head.classes, head.palette
        weights = path / WEIGHTS if path.is_dir() else path
        self.mark = digest_of(digest_of_file(weights), reading["stride"])

    def predicted(self, photos: Sequence[Any], skipped: list[str] | None = None) -> Iterator[tuple[Any, Parts]]:
        from shiftless.training.scenesource import segmented

        missing: list[str] = [] if skipped is None else skipped
        by_name = {str(path): path for path in photos}
        if not photos:
            return
        for parts in segmented(self.head, self.reader, list(photos), skipped=missing, progress=True, **self.reading):
            yield by_name[parts.name], parts

    def score(
        self, labelled: LabelledPhotos, name: str, each: Callable[..., object] | None
    ) -> tuple[Table, list[Confusion]]:
        from shiftless.bench.scenes import run

        return run(self.head, self.reader, labelled, name=name, each=each, progress=True, **self.reading)
