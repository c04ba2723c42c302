"""`shiftless fetch` takes aliases, captioners and hub ids, and says what else a model may want."""

from __future__ import annotations


def test_names_become_repositories(command, monkeypatch):
    fetched = []

    def fetch(hub_id, *, only, more, report):
        fetched.append((hub_id, list(more)))
        report(3, 4_300_000_000)
        return f"cache/{hub_id}"

    monkeypatch.setattr("shiftless.conditions.fetch.fetch", fetch)
    code, out, err = command("fetch", "sd15", "blip", "some/model", "--also", "loras/*.safetensors")
    assert code == 0, err
    ids = [hub_id for hub_id, _ in fetched]
    assert ids == [
        "stable-diffusion-v1-5/stable-diffusion-v1-5", "Salesforce/blip-image-captioning-base", "some/model",
    ]  # fmt: skip
    assert fetched[0][1] == ["loras/*.safetensors"]
    assert "fetching some/model: 3 files, 4.3 GB" in err
    assert "its ControlNets, if you want them: shiftless fetch lllyasviel/sd-controlnet-canny" in out


def test_what_comes_with_the_package_is_not_fetched(command):
    code, _, err = command("fetch", "mini")
    assert code == 2
    assert "mini: comes with the package; there is nothing to fetch" in err


def test_what_is_no_repository_is_made_from_its_checkpoint(command):
    code, _, err = command("fetch", "swav-r50")
    assert code == 2
    assert "make a folder of its checkpoint with: curl -O https://" in err
    assert "&& shiftless convert swav_800ep_pretrain.pth.tar swav-r50" in err


def test_a_unet_comes_with_the_parts_of_the_model_that_it_was_made_of(command, monkeypatch):
    fetched = {}

    def fetch(hub_id, *, only, more, report):
        fetched[hub_id] = only
        return f"cache/{hub_id}"

    monkeypatch.setattr("shiftless.conditions.fetch.fetch", fetch)
    code, out, err = command("fetch", "cleandift-sd15")
    assert code == 0, err
    assert list(fetched) == ["CompVis/cleandift", "stable-diffusion-v1-5/stable-diffusion-v1-5"]
    assert fetched["CompVis/cleandift"] == ["cleandift_sd15_unet.safetensors"]
    others = fetched["stable-diffusion-v1-5/stable-diffusion-v1-5"]
    assert others == ["vae/*", "text_encoder/*", "tokenizer/*", "scheduler/*"]
    assert "cleandift-sd15: cache/CompVis/cleandift" in out
