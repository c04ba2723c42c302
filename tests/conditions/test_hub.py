"""The hub's cache: what a fetch with patterns leaves behind is found, as huggingface_hub lays it out."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from shiftless.conditions.hub import fetched, is_hub_id

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def lay_out(cache, hub_id, contents, listing=None, ref="main"):
    """Write a repository into a hub cache as a fetch does: blobs, links to them, a ref and the repository's listing.

    contents  path in the repository -> bytes, of what was fetched      listing  all paths that the repository has
    """
    top = cache / f"models--{hub_id.replace('/', '--')}"
    (top / "blobs").mkdir(parents=True)
    (top / "refs").mkdir()
    (top / "refs" / ref).write_text(COMMIT)
    for number, (path, content) in enumerate(contents.items()):
        blob, link = top / "blobs" / f"{number:064x}", top / "snapshots" / COMMIT / path
        blob.write_bytes(content)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    if listing is not None:
        files = {path: {"size": 1, "blob_id": "0" * 40} for path in listing}
        (top / "trees").mkdir()
        (top / "trees" / f"{COMMIT}.json").write_text(json.dumps({"format_version": 1, "files": files}))
    return top / "snapshots" / COMMIT


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_repository_that_was_fetched_by_patterns_is_found(cache):
    """The fetch command that errors print leaves files out; huggingface_hub calls such a snapshot incomplete."""
    folder = lay_out(cache, "some/model", {"config.json": b"{}"}, ["config.json", "model.ckpt"])
    assert fetched("some/model") == folder


def test_a_whole_repository_and_an_older_cache_without_a_listing_are_found(cache):
    assert fetched("a/whole") is None
    whole = lay_out(cache, "a/whole", {"config.json": b"{}"}, ["config.json"])
    older = lay_out(cache, "an/older", {"config.json": b"{}"})
    assert (fetched("a/whole"), fetched("an/older")) == (whole, older)


def test_another_revision_alone_is_not_the_model(cache):
    lay_out(cache, "some/model", {"config.json": b"{}"}, ref="fp16")
    assert fetched("some/model") is None


@pytest.mark.parametrize("name", ["a/../b", "a/b\n", "a/.", "..a/--b", "a" * 200 + "/b", "ä/b", "a/b c"])
def test_names_that_the_hub_would_refuse_are_not_there(cache, name):
    assert fetched(name) is None


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME"])
def test_the_hubs_own_variables_say_where_the_cache_is(tmp_path, variable):
    cache = tmp_path if variable == "HF_HUB_CACHE" else tmp_path / "hub"
    folder = lay_out(cache, "some/model", {"config.json": b"{}"}, ["config.json", "model.bin"])
    code = "from shiftless.conditions.hub import fetched; print(fetched('some/model'))"
    environment = {variable: str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ":".join(sys.path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(folder)


def test_a_path_is_no_hub_id():
    assert is_hub_id("some/model")
    assert not any(map(is_hub_id, ("", "a", "/a", "a/", "./a", "../a", "~/a", "a/b/c")))
