"""Videos as photos: the frames of a file, decoded one after another by PyAV, or the pictures of a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from shiftless.errors import BadInput, first_line
from shiftless.image import Photo, list_photos, open_photo

EXTENSIONS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm")


@dataclass(frozen=True)
class VideoFrame:
    """A frame that was not decoded yet; its text is its name, FILE#NUMBER.

    number  from 0, in the order in which frames are shown
    hw      height and width in pixels, as the file says

    >>> str(VideoFrame(Path("clip.mp4"), 12, (480, 854)))
    'clip.mp4#000012'
    """

    video: Path
    number: int
    hw: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.video}#{self.number:06}"


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a file with a video's extension.

    >>> is_video("nowhere.mp4")
    False
    """
    return str(path).lower().endswith(EXTENSIONS) and Path(path).is_file()


def list_frames(video: str | os.PathLike[str], every: int = 1) -> list[VideoFrame]:
    """List the frames of a video, or every n-th of them; they are counted without being decoded.

    Raises BadInput for a file that is no video, and where PyAV is not installed (`pip install "shiftless[video]"`).
    """
    if every < 1:
        raise BadInput(f"every={every}: give a whole number from 1 up; 1 takes all frames")
    path = Path(video)
    with _opened(path) as container:
        stream = container.streams.video[0]
        hw = int(stream.codec_context.height), int(stream.codec_context.width)
        try:
            count = sum(1 for packet in container.demux(stream) if packet.size)
        except Exception as error:  # the library raises many kinds; the user needs one line
            raise BadInput(f"{path}: the video is damaged ({first_line(error)}); give a whole file") from None
    if not count:
        raise BadInput(f"{path}: no frames in this video; give another file")
    return [VideoFrame(path, number, hw) for number in range(0, count, every)]


def sources_in(places: Iterable[str | os.PathLike[str]], every: int = 1) -> list[Any]:
    """List what lies at places: paths of pictures, as `list_photos` lists them, and every n-th frame of videos.

    >>> sources_in(["nowhere"])
    Traceback (most recent call last):
    ...
    shiftless.errors.BadInput: nowhere: no such file or folder; check the path
    """
    found: list[Any] = []
    for place in places:
        found += list_frames(place, every) if is_video(place) else list_photos(place)
    return found


def frames_of(source: str | os.PathLike[str], every: int = 1) -> Iterator[Photo]:
    """Yield the frames of a video file, or the pictures of a folder in the order of their names, one decoded at a time.

    Raises BadInput as `list_frames`, `list_photos` and `open_photo` do.
    """
    if Path(source).is_dir():
        yield from map(open_photo, list_photos(source)[::every])
    else:
        yield from (one for one in decoded(list_frames(source, every)) if isinstance(one, Photo))


def decoded(sources: Iterable[Any]) -> Iterator[Any]:
    """Yield things that may be photos as they are, and in the place of each VideoFrame its Photo.

    Frames of one video must follow each other, in their order; only one is held at a time. Raises BadInput for a video
    that ends, or breaks, before the last frame that was asked for.

    >>> list(decoded(["a.jpg", "b.jpg"]))
    ['a.jpg', 'b.jpg']
    """
    for video, group in groupby(sources, lambda one: one.video if isinstance(one, VideoFrame) else None):
        if video is None:
            yield from group
        else:
            yield from _photos(video, iter(group))


def _photos(video: Path, frames: Iterator[VideoFrame]) -> Iterator[Photo]:
    asked, number = next(frames, None), -1
    with _opened(video) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        try:
            for number, frame in enumerate(container.decode(stream)):
                if asked is None:
                    return
                if number == asked.number:
                    array = frame.to_ndarray(format="rgb24")
                    turned = np.rot90(array, round(getattr(frame, "rotation", 0) / 90))  # a phone's, held upright
                    yield open_photo(np.ascontiguousarray(turned), str(asked))
                    asked = next(frames, None)
        except BadInput:
            raise
        except Exception as error:  # the library raises many kinds; the user needs one line
            raise BadInput(f"{video}: damaged after frame {number} ({first_line(error)}); give a whole file") from None
    if asked is not None:
        raise BadInput(f"{video}: ends after frame {number}, before {asked.number}; give a whole file")


def _opened(path: Path) -> Any:
    try:
        import av
    except ImportError:
        raise BadInput(f'{path}: videos need PyAV; install it: pip install "shiftless[video]"') from None
    if not path.is_file():
        raise BadInput(f"{path}: no such file; check the path")
    try:
        container = av.open(str(path))
    except Exception as error:  # the library raises many kinds; the user needs one line
        raise BadInput(f"{path}: not a video that can be read ({first_line(error)})") from None
    if not container.streams.video:
        container.close()
        raise BadInput(f"{path}: no pictures in this file, only sound; give a video")
    return container
