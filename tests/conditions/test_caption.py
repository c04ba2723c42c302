"""Captioners: any transformers image-to-text model from disk, captions kept by content, one line for what is wrong."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shiftless.conditions import caption_memory
from shiftless.conditions.caption import CAPTIONERS, find_captioner, load_captioner, remembered
from shiftless.conditions.caption_memory import captions_folder, fingerprint_of, spoken
from shiftless.conditions.caption_model import silenced
from shiftless.errors import BadInput
from shiftless.image import open_photo
from tests.conditions.caption_families import MODELS


def photo(seed: int, name: str | None = None):
    """A chequerboard of colours of its own."""
    cells = np.random.default_rng(seed).choice([0, 255], (3, 5, 3))
    return open_photo(np.kron(cells, np.ones((8, 8, 1))).astype(np.uint8), name or f"{seed}.png")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folders = {}
    for name, make in MODELS.items():
        folders[name] = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        make(folders[name])
    return folders


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SHIFTLESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "captions"


class Parrot:
    """A captioner that says the photo's width, and counts."""

    name = "parrot"

    def __init__(self, fingerprint: str = "p1", says: str = "{} wide") -> None:
        self.fingerprint, self.says, self.heard = fingerprint, says, []

    def caption(self, photos):
        self.heard += [photo.name for photo in photos]
        return [self.says.format(photo.hw[1]) for photo in photos]


def test_florence_is_asked_for_a_caption(saved, monkeypatch):
    captioner = load_captioner(saved["florence-2"])
    requested = {}
    monkeypatch.setattr(captioner.model, "generate", lambda **given: requested.update(given) or given["input_ids"])
    captioner.caption([photo(1)])
    assert "What does the image describe" in captioner.tokenizer.decode(requested["input_ids"][0])


@pytest.mark.parametrize("kind", MODELS)
def test_a_saved_model_captions_alike_in_any_batch(saved, kind):
    captioner = load_captioner(saved[kind])
    photos = [photo(i) for i in range(10)]  # more than one batch
    together = captioner.caption(photos)
    assert together == [captioner.caption([one])[0] for one in photos]
    assert together == load_captioner(str(saved[kind])).caption(photos)
    assert all(line and line == " ".join(line.split()) for line in together)
    if kind in ("encoder-decoder", "blip", "git"):  # the others, with random weights, hardly look at the photo
        assert len(set(together)) > 1
    assert all(line.startswith("An image of ") for line in together) == (kind == "kosmos-2")
    assert not any(mark in line for line in together for mark in ("[CLS]", "[SEP]", "[PAD]", "<|"))


def test_the_caption_is_what_transformers_generates(saved):
    from PIL import Image
    from transformers import AutoImageProcessor, AutoTokenizer, VisionEncoderDecoderModel

    folder = saved["encoder-decoder"]
    with silenced():
        model = VisionEncoderDecoderModel.from_pretrained(folder).eval()
        pixels = AutoImageProcessor.from_pretrained(folder)(Image.fromarray(photo(3).array), return_tensors="pt")
        tokens = model.generate(**pixels, max_new_tokens=60, do_sample=False)
    words = AutoTokenizer.from_pretrained(folder).decode(tokens[0], skip_special_tokens=True)
    assert load_captioner(folder).caption([photo(3)])[0].split() == spoken(words, "", "").split()


def test_a_family_with_a_prompt_is_asked_it(monkeypatch, saved):
    from shiftless.conditions import caption_model

    captioner = load_captioner(saved["blip"])
    captioner.family = caption_model.Family("a photo of", lambda text: text.removeprefix("a photo of"))
    requested = {}
    generate = captioner.model.generate

    def listening(**inputs):
        requested.update(inputs)
        return generate(**inputs)

    monkeypatch.setattr(captioner.model, "generate", listening)
    assert captioner.caption([photo(1)])[0]
    assert captioner.tokenizer.decode(requested["input_ids"][0], skip_special_tokens=True) == "a photo of"


def test_captions_are_kept_by_content_and_captioner(cache):
    parrot = Parrot()
    one, same, other = photo(1, "a.png"), photo(1, "b.png"), photo(2, "c.png")
    assert remembered(parrot, [one, other, same]) == ["40 wide"] * 3
    assert parrot.heard == ["b.png", "c.png"] or parrot.heard == ["a.png", "c.png"]  # equal photos once
    again = Parrot(says="something else")
    assert remembered(again, [same, one]) == ["40 wide"] * 2
    assert again.heard == []
    assert remembered(Parrot("p2", says="new weights"), [one]) == ["new weights"]
    assert sorted(path.name for path in cache.iterdir()) == ["p1", "p2"]
    assert remembered(Parrot("", says="never kept"), [one]) == ["never kept"]


def test_a_spoilt_memory_is_not_believed(cache):
    one = photo(1)
    remembered(Parrot(), [one])
    (cache / "p1" / f"{one.digest}.txt").write_bytes(b"\xff\xfe\x00")
    assert remembered(Parrot(says="again"), [one]) == ["again"]
    (cache / "p1" / f"{one.digest}.txt").write_text("\n")
    assert remembered(Parrot(says="and again"), [one]) == ["and again"]


def test_a_memory_that_cannot_be_written_does_not_stop_captions(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")  # a read-only folder would not stop root
    monkeypatch.setenv("SHIFTLESS_CACHE", str(tmp_path / "file"))
    assert remembered(Parrot(), [photo(1)]) == ["40 wide"]


def test_what_was_captioned_before_a_failure_is_kept(monkeypatch):
    monkeypatch.setattr(caption_memory, "_SAVE_EVERY", 1)
    parrot = Parrot()
    monkeypatch.setattr(parrot, "caption", lambda photos: [" "] if photos[0].name == "2.png" else ["words"])
    with pytest.raises(BadInput, match=r"2\.png: captioner parrot says nothing"):
        remembered(parrot, [photo(1), photo(2)])
    assert remembered(Parrot(says="not asked"), [photo(1)]) == ["words"]


def test_where_captions_are_kept(monkeypatch, tmp_path):
    monkeypatch.delenv("SHIFTLESS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert captions_folder() == tmp_path / "shiftless" / "captions"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert captions_folder() == tmp_path / "home" / ".cache" / "shiftless" / "captions"


def test_the_fingerprint_follows_the_content_not_the_place(saved, tmp_path):
    import shutil

    copy = shutil.copytree(saved["blip"], tmp_path / "copy")
    assert fingerprint_of(copy) == fingerprint_of(saved["blip"]) != fingerprint_of(saved["git"])
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1  # one bit of one weight
    (copy / "model.safetensors").write_bytes(content)
    assert fingerprint_of(copy) != fingerprint_of(saved["blip"])
    assert load_captioner(copy).fingerprint == fingerprint_of(copy)


def test_the_content_counts_whatever_the_hub_calls_it(tmp_path):
    """In the hub's cache a weight file is a link to a blob named by its SHA-256."""
    folders = []
    for letter, content in (("a", b"these bytes"), ("b", b"these bytes"), ("c", b"others")):
        blob = tmp_path / letter / (letter * 64)
        blob.parent.mkdir()
        blob.write_bytes(content)
        snapshot = tmp_path / f"snapshot-{letter}"
        snapshot.mkdir()
        os.symlink(blob, snapshot / "model.safetensors")
        folders.append(snapshot)
    a, b, c = map(fingerprint_of, folders)
    assert a == b != c


def test_a_captioner_that_was_replaced_is_loaded_again(saved, tmp_path):
    import shutil

    import shiftless

    folder = shutil.copytree(saved["blip"], tmp_path / "mine")
    model = shiftless.load("twin:sd15")
    before = model.captioner(str(folder))
    assert model.captioner(str(folder)) is before
    shutil.rmtree(folder)
    shutil.copytree(saved["git"], folder)
    after = model.captioner(str(folder))
    assert after.fingerprint == fingerprint_of(saved["git"]) != before.fingerprint


def test_a_silent_model_is_reported(saved, monkeypatch):
    captioner = load_captioner(saved["encoder-decoder"])
    end = captioner.tokenizer.eos_token_id
    monkeypatch.setattr(captioner.model, "generate", lambda **_: torch.full((1, 3), end))
    with pytest.raises(BadInput, match=r"7\.png: captioner .* says nothing of this photo; write its prompt"):
        captioner.caption([photo(7)])


@pytest.mark.parametrize(
    ("file", "value"),
    [
        ("preprocessor_config.json", {"image_mean": [0.5, 0.5]}),
        ("preprocessor_config.json", {"image_std": [0.5, "x", 0.5]}),
        ("generation_config.json", {"bos_token_id": "x", "decoder_start_token_id": "x"}),
        ("generation_config.json", {"bad_words_ids": 0.5}),
    ],
)
def test_a_config_that_fails_only_when_it_is_used_is_one_line(tmp_path, file, value):
    folder = shutil.copytree(CAPTIONERS["mini"], tmp_path / "captioner")
    whole = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**whole, **value}))
    with pytest.raises(BadInput, match="fetch or save it again") as caught:
        load_captioner(folder).caption([photo(3)])
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_loading_leaves_the_librarys_voice_as_it_was(saved):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_captioner(saved["git"]).caption([photo(1)])
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_what_cannot_be_loaded_is_one_line(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def says(name) -> str:
        with pytest.raises(BadInput) as caught:
            load_captioner(name)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "use mini, blip" in says("blop")
    assert "shiftless fetch Salesforce/blip-image-captioning-base" in says("blip")
    assert "shiftless fetch someone/something" in says("someone/something")
    assert "no config.json" in says(tmp_path)
    (tmp_path / "config.json").write_text((saved["blip"] / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    assert "no model.safetensors, but pytorch_model.bin, a pickle, which is never opened here" in says(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((saved["blip"] / "model.safetensors").read_bytes()[:-9])
    assert "model.safetensors: not a whole safetensors file" in says(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "clip_text_model"}')
    assert str(tmp_path) in says(tmp_path)


def test_every_short_name_is_a_hub_id_or_the_mini():
    assert find_captioner("mini").parent.name == "weights"
    assert all(name == "mini" or where.count("/") == 1 for name, where in CAPTIONERS.items())


@given(st.text())
def test_a_caption_is_one_clean_line_or_refused(text):
    try:
        line = spoken(text, "c", "p")
    except BadInput:
        assert not text.strip()
        return
    assert line == line.strip()
    assert len(line.splitlines()) == 1
    assert spoken(line, "c", "p") == line
    assert [c for c in line if not c.isspace()] == [c for c in text if not c.isspace()]
