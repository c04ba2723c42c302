"""What a LoRA learns from: which photos, in which order, with which captions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from shiftless import BadInput
from shiftless.conditions.caption_folder import CaptionFolder
from shiftless.image import open_photo
from shiftless.training.lora.examples import Batches, Example, chosen, written_captions
from shiftless.training.lora.settings import Settings


def photo(i, name="image"):
    return open_photo(np.full((8, 8, 3), i, np.uint8), name)


def example(i, width=4, captions=("", "horse", "a horse")):
    return Example(photo(i), torch.zeros(1, 4, 4, width), captions)


@pytest.mark.parametrize(
    ("count", "learn", "held"), [(3, 1, (1, 1)), (30, 24, (3, 3)), (37, 30, (4, 3)), (100, 30, (10, 10))]
)
def test_no_photo_is_in_two_of_what_is_learned_chosen_by_and_reported_on(count, learn, held):
    parts = chosen([photo(i) for i in range(count)], Settings())
    digests = [{p.digest for p in part} for part in parts]
    assert [len(part) for part in digests] == [learn, *held]
    assert len(set().union(*digests)) == sum(map(len, digests))


def test_an_epoch_shows_every_photo_with_every_caption():
    examples = [example(i, width=4 if i % 2 else 8) for i in range(5)]
    batches = Batches(examples, Settings(repeats=2, batch=4))
    recorded = list(itertools.islice(batches.start(0), batches.an_epoch))
    rows = sorted(row for batch in recorded for row in batch)
    assert rows == sorted((i, c) for i in range(5) for c in ("", "horse", "a horse") for _ in range(2))
    for batch in recorded:
        assert len({examples[i].latent.shape for i, _ in batch}) == 1
        assert len(batch) <= 4


def test_the_order_is_the_same_wherever_it_is_entered_and_new_each_epoch():
    batches = Batches([example(i) for i in range(5)], Settings(repeats=1, batch=2))
    whole = list(itertools.islice(batches.start(0), 20))
    for at in (1, batches.an_epoch, batches.an_epoch + 3):
        assert list(itertools.islice(batches.start(at), 20 - at)) == whole[at:]
    assert whole[: batches.an_epoch] != whole[batches.an_epoch : 2 * batches.an_epoch]


def test_captions_from_a_folder(tmp_path):
    message = []
    (tmp_path / "b.txt").write_text("a brown\n horse ", encoding="utf-8")
    photos = [photo(0, "photos/a.png"), photo(1, "photos/b.jpg")]
    folder = CaptionFolder(tmp_path, photos=[photo.name for photo in photos])
    assert written_captions(folder, photos, message.append) == ["", "a brown horse"]
    assert message[0].startswith("1 of 2 photos have no caption")
    with pytest.raises(BadInput, match=r"no captions of these photos; .*a\.txt"):
        written_captions(folder, photos[:1], message.append)


def test_captions_lie_where_their_photos_do(tmp_path):
    (tmp_path / "sub").mkdir()
    for name, text in (("1.txt", "a white horse"), ("sub/1.txt", "a cow")):
        (tmp_path / name).write_text(text)
    photos = [photo(0, "ph/sub/1.png"), photo(1, "ph/1.png")]
    folder = CaptionFolder(tmp_path, photos=[one.name for one in photos])
    assert written_captions(folder, photos, print) == ["a cow", "a white horse"]
