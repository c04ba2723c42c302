"""Fetching takes exactly what loading reads, says what it will take first, and turns every refusal into one line."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from shiftless import BadInput
from shiftless.conditions.fetch import chosen_files, fetch

SDXL = [
    "README.md", "model_index.json", "sd_xl_base_1.0.safetensors", "scheduler/scheduler_config.json",
    *(f"{part}/{name}" for part in ("text_encoder", "text_encoder_2")
      for name in ("config.json", "model.safetensors", "model.fp16.safetensors", "flax_model.msgpack", "model.onnx")),
    *(f"tokenizer_2/{name}" for name in ("vocab.json", "merges.txt", "tokenizer_config.json")),
    "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors",
    "vae_1_0/diffusion_pytorch_model.safetensors", "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
]  # fmt: skip
FLUX = [
    "flux1-dev.safetensors", "ae.safetensors", "model_index.json", "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors.index.json",
    *(f"transformer/diffusion_pytorch_model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)),
    "text_encoder_2/model-00001-of-00002.safetensors", "text_encoder_2/model-00002-of-00002.safetensors",
    "text_encoder_2/model.safetensors.index.json", "tokenizer_2/spiece.model",
    "tokenizer/chat_template.jinja",
]  # fmt: skip


def test_each_part_is_taken_once_and_nothing_that_is_not_read():
    taken = chosen_files(SDXL)
    heavy = [name for name in taken if not name.endswith((".json", ".txt"))]
    assert heavy == [
        "text_encoder/model.safetensors", "text_encoder_2/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors",
    ]  # fmt: skip
    assert "tokenizer_2/merges.txt" in taken
    assert not any(name.startswith("vae_1_0") for name in taken)


def test_weights_in_parts_come_with_their_index():
    taken = chosen_files(FLUX)
    assert sum("-of-00003" in name for name in taken) == 3
    assert "transformer/diffusion_pytorch_model.safetensors.index.json" in taken
    assert "tokenizer_2/spiece.model" in taken
    assert "tokenizer/chat_template.jinja" in taken
    assert "flux1-dev.safetensors" not in taken


@pytest.mark.parametrize(
    ("listing", "taken"),
    [
        (  # google/ddpm-bedroom-256
            ["README.md", "model_index.json", "config.json", "scheduler_config.json", "diffusion_pytorch_model.bin"],
            ["config.json", "diffusion_pytorch_model.bin", "model_index.json", "scheduler_config.json"],
        ),
        (["config.json", "diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"],
         ["config.json", "diffusion_pytorch_model.safetensors"]),  # a ControlNet
        (["config.json", "preprocessor_config.json", "pytorch_model.bin", "tf_model.h5"],
         ["config.json", "preprocessor_config.json", "pytorch_model.bin"]),  # an old ViT
        (["my-style.safetensors", "sample.png"], ["my-style.safetensors"]),  # a LoRA
        (["config.json", "model.fp16.safetensors"], ["config.json", "model.fp16.safetensors"]),
        (["README.md"], []),
    ],
)  # fmt: skip
def test_repositories_of_one_part(listing, taken):
    assert chosen_files(listing) == taken


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with one repository; keeps what was requested of it."""
    requested = SimpleNamespace(files=None, error=None, sizes=dict.fromkeys(SDXL, 1000))

    def listing(_self, hub_id, files_metadata):
        if requested.error is not None:
            raise requested.error
        siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in requested.sizes.items()]
        return SimpleNamespace(siblings=siblings)

    def download(hub_id, allow_patterns):
        requested.files = allow_patterns
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", listing)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return requested


def test_it_says_what_it_takes_before_it_takes_it(hub, tmp_path):
    told = []
    assert fetch("some/sdxl", more=("*.msgpack",), report=lambda *size: told.append((*size, hub.files))) == tmp_path
    assert told == [(len(hub.files), 1000 * len(hub.files), None)]
    assert hub.files == [*chosen_files(SDXL), "text_encoder/flax_model.msgpack", "text_encoder_2/flax_model.msgpack"]


def test_some_files_alone_are_taken(hub, tmp_path):
    assert fetch("some/sdxl", only=("vae/*", "sd_xl_base_1.0.safetensors")) == tmp_path
    assert hub.files == ["vae/config.json", "vae/diffusion_pytorch_model.safetensors", "sd_xl_base_1.0.safetensors"]


def errors():
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    response = SimpleNamespace(headers={}, status_code=403, request=None)
    yield GatedRepoError("gated", response=response), r"licence must be accepted first, at \S+/some/sdxl; then run `hf"
    yield RepositoryNotFoundError("404", response=response), "no such repository on the hub, or it is private"
    yield HfHubHTTPError("503", response=response), "the hub refused"
    yield ConnectionError("no route to host"), "check the network and fetch it again"


@pytest.mark.parametrize(("error", "message"), list(errors()), ids=lambda value: type(value).__name__)
def test_a_refusal_is_one_line(hub, error, message):
    hub.error = error
    with pytest.raises(BadInput, match=message) as raised:
        fetch("some/sdxl")
    assert "\n" not in str(raised.value)
    assert hub.files is None


def test_a_disk_that_is_too_full_is_found_before_anything_is_fetched(hub):
    hub.sizes = {"config.json": 10, "model.safetensors": 10**18}
    with pytest.raises(BadInput, match=r"needs 1000000000\.0 GB .* set HF_HOME to a folder on another disk"):
        fetch("some/huge")
    assert hub.files is None
