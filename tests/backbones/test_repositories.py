"""Repositories as the hub holds them: made copies, with the real file names, in the layout of the hub's cache."""

from __future__ import annotations

import json
import shlex
import shutil
import socket
from fnmatch import fnmatch

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import shiftless
from shiftless import BadInput
from shiftless.backbones.registry import models
from shiftless.backbones.twin_controls import twin_control
from shiftless.backbones.twins import save_folder, twin_parts
from shiftless.conditions.control import load_control
from shiftless.conditions.fetch import chosen_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NET, CLIP = "diffusion_pytorch_model", "model"
REST = "fetch the rest with: shiftless fetch some/part"
REAL = [  # the listing of Stable Diffusion 1.5, without its documents
    "model_index.json", "v1-inference.yaml", "v1-5-pruned.ckpt", "v1-5-pruned.safetensors", "v1-5-pruned-emaonly.ckpt",
    "v1-5-pruned-emaonly.safetensors", "feature_extractor/preprocessor_config.json", "safety_checker/config.json",
    *(f"safety_checker/{n}" for n in ("model.safetensors", "model.fp16.safetensors", "pytorch_model.bin")),
    "scheduler/scheduler_config.json", "text_encoder/config.json", "tokenizer/merges.txt", "tokenizer/vocab.json",
    "tokenizer/special_tokens_map.json", "tokenizer/tokenizer_config.json",
    *(f"text_encoder/{n}" for n in ("model.safetensors", "model.fp16.safetensors", "pytorch_model.bin",
                                    "pytorch_model.fp16.bin")),
    "unet/config.json", "vae/config.json",
    *(f"{part}/{NET}{variant}.{kind}"
      for part in ("unet", "vae") for variant in ("", ".fp16") for kind in ("safetensors", "bin")),
    f"unet/{NET}.non_ema.safetensors", f"unet/{NET}.non_ema.bin",
]  # fmt: skip


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    def refuse(*_args, **_kwargs):
        raise AssertionError("something reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A whole repository: the real listing, with the weights of a twin and rubbish where nothing is to be read."""
    folder = tmp_path_factory.mktemp("repository")
    with torch.random.fork_rng(devices=[]):
        save_folder(twin_parts(models()["sd15"]), folder)
    for name in REAL:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_bytes(b"{}" if path.suffix == ".json" else b"never to be opened")
    for part, stem in (("unet", NET), ("vae", NET), ("text_encoder", CLIP)):
        half = {key: value.half() for key, value in load_file(folder / part / f"{stem}.safetensors").items()}
        save_file(half, folder / part / f"{stem}.fp16.safetensors", {"format": "pt"})
    other = {key: value + 1 for key, value in load_file(folder / "unet" / f"{NET}.safetensors").items()}
    save_file(other, folder / "unet" / f"{NET}.non_ema.safetensors", {"format": "pt"})
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    scheduler |= {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "_diffusers_version": "0.6.0"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    return folder


def fetch(source, tmp_path, hub_id, patterns, without=()):
    """Do what fetching does with a repository: blobs, links to them, a ref, the whole listing."""
    top = tmp_path / "hub" / f"models--{hub_id.replace('/', '--')}"
    files = sorted(p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file())
    taken = [f for f in files if any(fnmatch(f, pattern) for pattern in patterns) and f not in without]
    for folder in ("blobs", "refs", "trees"):
        (top / folder).mkdir(parents=True)
    (top / "refs" / "main").write_text(COMMIT)
    listing = {name: {"size": (source / name).stat().st_size, "blob_id": "0" * 40} for name in files}
    (top / "trees" / f"{COMMIT}.json").write_text(json.dumps({"format_version": 1, "files": listing}))
    for number, name in enumerate(taken):
        blob, link = top / "blobs" / f"{number:064x}", top / "snapshots" / COMMIT / name
        shutil.copy(source / name, blob)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return taken


def said(name):
    with pytest.raises(BadInput) as caught:
        shiftless.load(name, device="cpu", dtype="fp32")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files_of(message, repository):
    """What the fetch command in a message takes of a repository, and its hub id."""
    name = shlex.split(message.partition("shiftless fetch ")[2].partition(";")[0])[0]
    listing = [path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()]
    return models()[name]["hub"][0] if name in models() else name, chosen_files(listing)


def reading(model):
    picture = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    return shiftless.extract(model, picture, shiftless.Recipe(taps=("up1",), size=64))["up1"].float()


@pytest.fixture(scope="module")
def expected(source):
    return reading(shiftless.load(source, device="cpu", dtype="fp32"))


def test_what_the_command_fetches_is_what_loading_needs(source, tmp_path, expected):
    hub_id, patterns = files_of(said("sd15"), source)
    assert hub_id == models()["sd15"]["hub"][0]
    taken = fetch(source, tmp_path, hub_id, patterns)
    heavy = [name for name in taken if not name.endswith((".json", ".txt"))]
    assert heavy == [f"text_encoder/{CLIP}.safetensors", f"unet/{NET}.safetensors", f"vae/{NET}.safetensors"]
    for name in ("sd15", hub_id):
        assert torch.equal(reading(shiftless.load(name, device="cpu", dtype="fp32")), expected)


def test_a_whole_clone_reads_the_usual_weights(source, tmp_path, expected):
    fetch(source, tmp_path, "some/clone", ["*"])
    assert torch.equal(reading(shiftless.load("some/clone", device="cpu", dtype="fp32")), expected)


def test_half_precision_alone_is_read(source, tmp_path, expected):
    fetch(source, tmp_path, "some/half", ["*.json", "*.txt", "*.fp16.safetensors"])
    half = reading(shiftless.load("some/half", device="cpu", dtype="fp32"))
    assert not torch.equal(half, expected)
    torch.testing.assert_close(half, expected, atol=2e-2, rtol=1e-2)


def test_weights_in_parts_are_read_and_fetched(source, tmp_path, expected):
    parted = tmp_path / "parted"
    shutil.copytree(source, parted)
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(source / "unet")
    shutil.rmtree(parted / "unet")
    unet.save_pretrained(parted / "unet", max_shard_size="1MB")
    shards = sorted(path.name for path in (parted / "unet").glob("*-of-*.safetensors"))
    assert len(shards) > 1
    assert torch.equal(reading(shiftless.load(parted, device="cpu", dtype="fp32")), expected)
    _, patterns = files_of(said("some/parts"), parted)
    fetch(parted, tmp_path, "some/parts", patterns, without=[f"unet/{shards[0]}"])
    assert f"parts are missing ({shards[0]}); fetch the rest with: shiftless fetch some/parts" in said("some/parts")
    shutil.rmtree(tmp_path / "hub")
    fetch(parted, tmp_path, "some/parts", patterns)
    assert torch.equal(reading(shiftless.load("some/parts", device="cpu", dtype="fp32")), expected)


@pytest.mark.parametrize(
    ("patterns", "says"),
    [
        (["model_index.json"], f"no unet/config.json; {REST}"),
        (["*.json"], f"unet: no safetensors weights here (diffusion_pytorch_model.safetensors); {REST}"),
        (["*.json", "*.txt", "*/*model.safetensors", "!vae"], f"the model folder has no vae/; {REST}"),
        (["*.json", "*.txt", "*.non_ema.safetensors"], f"{NET}.non_ema.safetensors and no {NET}.safetensors; {REST}"),
        (["*.json", "*.txt", "*.bin"], f"no {NET}.safetensors, but {NET}.bin, a pickle, which is never opened here"),
    ],
)
def test_a_fetch_in_part_says_what_fetches_the_rest(source, tmp_path, patterns, says):
    files = [p.relative_to(source).as_posix() for p in source.rglob("*")]
    lacking = [f for f in files if "!vae" in patterns and f.startswith("vae/")]
    fetch(source, tmp_path, "some/part", patterns, lacking)
    assert says in said("some/part")


def test_an_old_repository_with_pickles_alone_ends_in_a_way_to_convert_them(source, tmp_path):
    """Following each message's advice in turn leads somewhere, and never in a circle."""
    old = tmp_path / "old"
    shutil.copytree(source, old)
    for file in old.rglob("*.safetensors"):
        file.unlink()
    _, patterns = files_of(said("an/old-one"), old)
    taken = fetch(old, tmp_path, "an/old-one", patterns)
    assert [name for name in taken if name.endswith(".bin")] == [
        "text_encoder/pytorch_model.bin", f"unet/{NET}.bin", f"vae/{NET}.bin",
    ]  # fmt: skip
    assert "a pickle, which is never opened here; convert it once" in said("an/old-one")


def test_a_pickled_checkpoint_says_how_a_folder_is_made_of_it(source):
    line = said(str(source / "v1-5-pruned.ckpt"))
    assert "a single-file checkpoint that is not read as it is" in line
    assert "StableDiffusionPipeline.from_single_file" in line


def test_controlnets_of_the_hub_load_in_each_shape_or_say_what_to_do(source, tmp_path):
    model = shiftless.load(source, device="cpu", dtype="fp32")

    def load(name):
        place = {"stride": 8, "device": torch.device("cpu"), "dtype": torch.float32, "encode": model.encode_map}
        return load_control(name, {}, model.unet, **place).net

    def refused(name):
        with pytest.raises(BadInput) as caught:
            load(name)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    net = twin_control(model.unet, 8)
    made = tmp_path / "controlnet"
    net.save_pretrained(made)
    half = {key: value.half() for key, value in net.state_dict().items()}
    save_file(half, made / f"{NET}.fp16.safetensors", {"format": "pt"})
    torch.save(net.state_dict(), made / f"{NET}.bin")
    (made / "images").mkdir()
    (made / "images" / "bag.png").write_bytes(b"")
    hub_id, patterns = files_of(refused("some/sd-controlnet-canny"), made)
    taken = fetch(made, tmp_path, hub_id, patterns)
    assert taken == ["config.json", f"{NET}.safetensors"]
    weight = "controlnet_mid_block.weight"
    assert torch.equal(load(hub_id).state_dict()[weight], net.state_dict()[weight])
    fetch(made, tmp_path, "some/half-canny", ["config.json", "*.fp16.safetensors"])
    assert torch.equal(load("some/half-canny").state_dict()[weight], half[weight].float())
    fetch(made, tmp_path, "some/old-canny", ["config.json", "*.bin"])
    assert "a pickle, which is never opened here; convert it once" in refused("some/old-canny")
    fetch(made, tmp_path, "some/empty-canny", ["images/*"])
    assert "fetch the rest with: shiftless fetch some/empty-canny" in refused("some/empty-canny")
    single = tmp_path / "control_v11p_sd15_canny.safetensors"
    save_file({"control_model.zero_convs.0.0.weight": torch.zeros(1)}, single)
    assert "ControlNetModel.from_single_file" in refused(str(single))
