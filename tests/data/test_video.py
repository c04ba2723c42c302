"""Videos: every frame to the byte, in order, one at a time, and what is broken in one line."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import shiftless
from shiftless.data.video import VideoFrame, decoded, frames_of, is_video, list_frames, sources_in
from shiftless.errors import BadInput

av = pytest.importorskip("av", reason='needs the extra "video"')

PICTURES = np.random.default_rng(0).integers(0, 256, (6, 32, 48, 3), dtype=np.uint8)


def write(path, pictures, codec="ffv1"):
    """A video that loses nothing."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "bgr0"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write(tmp_path_factory.mktemp("video") / "clip.mkv", PICTURES)


def test_frames_are_those_that_were_written_with_names_and_the_files_size(clip):
    listed = list_frames(clip)
    assert [one.hw for one in listed] == [(32, 48)] * 6
    assert is_video(clip)
    photos = list(frames_of(clip))
    assert [photo.name for photo in photos] == [str(one) for one in listed] == [f"{clip}#{i:06}" for i in range(6)]
    assert all(np.array_equal(photo.array, picture) for photo, picture in zip(photos, PICTURES, strict=True))
    assert [photo.name[-2:] for photo in frames_of(clip, every=4)] == ["00", "04"]


def test_frames_are_decoded_one_at_a_time_in_the_place_of_their_names(clip, monkeypatch):
    asked, mine = list_frames(clip), "a.jpg"
    stream = decoded([mine, asked[1], asked[4], mine])
    assert next(stream) == mine
    assert next(stream).digest == shiftless.image.open_photo(PICTURES[1]).digest
    assert next(stream).digest == shiftless.image.open_photo(PICTURES[4]).digest
    assert list(stream) == [mine]
    assert len(sources_in([clip, clip], every=3)) == 4


def test_a_folder_of_frames_is_a_video_too(tmp_path):
    for i, picture in enumerate(PICTURES[:3]):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    assert [photo.digest for photo in frames_of(tmp_path, every=2)] == [
        shiftless.image.open_photo(PICTURES[i]).digest for i in (0, 2)
    ]


def test_a_frame_that_is_not_there_and_files_that_are_no_video_are_one_line(clip, tmp_path):
    with pytest.raises(BadInput, match="ends after frame 5, before 9; give a whole file"):
        list(decoded([VideoFrame(clip, 9, (32, 48))]))
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(BadInput, match=r"a\.mp4: not a video that can be read"):
        list_frames(tmp_path / "a.mp4")
    with pytest.raises(BadInput, match=r"b\.mp4: no such file"):
        list_frames(tmp_path / "b.mp4")
    with pytest.raises(BadInput, match="every=0"):
        list_frames(clip, every=0)


def test_a_video_is_extracted_into_a_store_by_the_command(clip, tmp_path, monkeypatch, capsys):
    import sys

    from shiftless.cli import main

    monkeypatch.chdir(clip.parent)

    def run(*more):
        monkeypatch.setattr(sys, "argv", ["shiftless", "extract", "clip.mkv", "-o", str(tmp_path / "a.zarr"), *more])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code or 0, capsys.readouterr().err

    given = ("-m", "twin:sd15", "--taps", "up0", "--size", "64", "--every", "3")
    assert run(*given)[0] == 0
    store = shiftless.FeatureStore(tmp_path / "a.zarr")
    assert store.photos == ["clip.mkv#000000", "clip.mkv#000003"]
    assert store[shiftless.image.open_photo(PICTURES[3])]["up0"].shape[1] == 64
    code, err = run(*given, "--engine", "local")
    assert (code, "one process reads a video; leave --engine out" in err.splitlines()[-1]) == (2, True)
