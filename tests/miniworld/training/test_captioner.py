"""The embedded model's captioner: its training, its folder, and how it is judged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from miniworld.oracle import find_oracle, load_oracle
from miniworld.training.caption_proof import ALWAYS, agreement, caption_accuracy, facts
from miniworld.training.captioned import LENGTH, CaptionedPictures, caption_tokens
from miniworld.training.captioner import CaptionLoss, captioner_on, new_captioner, train_captioner
from miniworld.training.pictures import PictureFolder
from miniworld.training.stage import Stage
from miniworld.training.tokenizer import new_tokenizer
from miniworld.world.picture import draw
from shiftless.conditions.caption import load_captioner
from shiftless.errors import BadInput
from shiftless.image import open_photo
from tests.interrupted import interrupt_after

TINY = {
    "depths": (1, 1, 1),
    "hidden_sizes": (8, 16, 32),
    "num_attention_heads": (1, 1, 1),
    "n_embd": 32,
    "n_layer": 1,
    "n_head": 2,
}


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_a_captioner_can_begin_with_an_oracle_s_encoder(tmp_path, drawn):
    oracle, pixels = load_oracle().network, torch.rand(1, 3, 64, 64)
    begun = captioner_on(oracle, new_tokenizer(), n_embd=32, n_layer=1, n_head=2).eval()
    expected = oracle.segformer(pixels, output_hidden_states=True).hidden_states[-1].flatten(2).transpose(1, 2)
    torch.testing.assert_close(begun.encoder(pixels).last_hidden_state, expected)
    stage = Stage(tmp_path, images=2, pictures=drawn, draw=False, compile=False, device="cpu")
    folder = train_captioner(
        stage, start_from=find_oracle(), batch=2, changes={"n_embd": 32, "n_layer": 1, "n_head": 2}
    )
    trained, ours = load_captioner(folder).model.encoder.state_dict(), begun.encoder.state_dict()
    apart = max(float((trained[name].float() - ours[name]).abs().max()) for name in ours)
    assert 0 < apart < 0.01  # a step away


def test_an_interrupted_captioner_ends_where_an_uninterrupted_one_does(tmp_path, drawn, monkeypatch):
    how = {"images": 64, "pictures": drawn, "draw": False, "compile": False, "device": "cpu"}
    options = {"batch": 8, "changes": TINY}
    whole = weights(train_captioner(Stage(tmp_path / "a", **how), **options))
    with monkeypatch.context() as patch:
        interrupt_after(3, patch)
        with pytest.raises(KeyboardInterrupt):
            train_captioner(Stage(tmp_path / "b", checkpoint_minutes=0, **how), **options)
    assert not (tmp_path / "b" / "captioner").exists()
    resumed = weights(train_captioner(Stage(tmp_path / "b", **how), **options))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert {tensor.dtype for tensor in whole.values()} == {torch.float16}

    captioner = load_captioner(tmp_path / "a" / "captioner")  # as any other captioner is loaded
    assert captioner.model.dtype == torch.float32
    assert next(captioner.model.parameters()).dtype == torch.float32
    state = captioner.model.state_dict()
    assert all(torch.equal(state[name].half(), whole[name]) for name in whole.keys() & state.keys())
    assert not any(str(tmp_path) in path.read_text() for path in (tmp_path / "a" / "captioner").glob("*.json"))

    stage = Stage(tmp_path / "on", **{**how, "images": 8})
    further = weights(train_captioner(stage, start_from=tmp_path / "a", **options))
    name = "decoder.transformer.wte.weight"
    assert 0 < (further[name].float() - whole[name].float()).abs().max() < 0.01  # a step away, not drawn anew


def test_it_learns_to_tell_two_pictures_apart(tokenizer):
    model = new_captioner(tokenizer, **TINY)
    tokens = torch.from_numpy(caption_tokens(tokenizer, ["a red bus", "a white cat, facing left"], 12)).long()
    images = torch.stack([torch.full((32, 32, 3), v, dtype=torch.uint8) for v in (20, 230)])
    network, optimiser = CaptionLoss(model, tokenizer.eos_token_id), torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(120):
        optimiser.zero_grad()
        loss, right = network(images, tokens)
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1
    assert float(right) == 1
    made = model.eval().generate(pixel_values=images.permute(0, 3, 1, 2) / 127.5 - 1, do_sample=False)
    texts = [text.strip() for text in tokenizer.batch_decode(made, skip_special_tokens=True)]
    assert texts == ["a red bus", "a white cat , facing left"]


def test_the_loss_counts_words_and_one_end(tokenizer):
    model = new_captioner(tokenizer, **TINY).eval()
    network = CaptionLoss(model, tokenizer.eos_token_id)
    images = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    ids = tokenizer("a red bus").input_ids
    long, short = (torch.tensor([ids + [tokenizer.eos_token_id] * n]) for n in (20, 0))
    with torch.no_grad():
        scores = model(pixel_values=torch.full((1, 3, 32, 32), -1.0), decoder_input_ids=short[:, :-1]).logits[0]
        expected = -scores.log_softmax(-1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].mean()
        torch.testing.assert_close(network(images, short)[0], expected)
        torch.testing.assert_close(network(images, long)[0], expected)


def test_it_fits_in_the_package(tokenizer):
    model = new_captioner(tokenizer)
    assert 2 * sum(p.numel() for p in model.parameters()) < 12e6
    assert model.encoder(pixel_values=torch.zeros(1, 3, 128, 128)).last_hidden_state.shape == (1, 64, 192)


def test_batches_follow_seed_and_step_and_mirrors_swap_sides(drawn, tokenizer):
    data = CaptionedPictures(PictureFolder(drawn), tokenizer)
    for ours, theirs in zip(data.batch(4, 0, 3), data.batch(4, 0, 3)):
        assert torch.equal(ours, theirs)
    assert not torch.equal(data.batch(4, 0, 3)[1], data.batch(4, 1, 3)[1])
    images, tokens = (torch.cat(parts) for parts in zip(*(data.batch(10, 0, step) for step in range(4))))
    counts = {"plain": 0, "mirrored": 0}
    for image, row in zip(images.numpy(), tokens):
        message = facts(tokenizer.decode(row, skip_special_tokens=True).replace(" ,", ","))
        for i in range(len(data)):
            pixels, about = data.pictures[i]
            true = facts(about["captions"][2])
            if np.array_equal(image, pixels):
                assert message == true
                counts["plain"] += 1
            elif np.array_equal(image, pixels[:, ::-1]):
                assert message == true | {"facing": {"left": "right", "right": "left"}[true["facing"]]}
                counts["mirrored"] += 1
    assert sum(counts.values()) == 40
    assert min(counts.values()) > 8


def test_a_caption_without_room_for_its_end_is_refused(tokenizer):
    assert caption_tokens(tokenizer, ["a cow", "a"]).shape == (2, LENGTH)
    with pytest.raises(BadInput, match="7 tokens; a captioner is given 5"):
        caption_tokens(tokenizer, ["a cow", "a photo of a cow"], 5)


def test_facts_are_what_the_world_drew():
    for seed in range(60):
        picture = draw(seed, size=32)
        message, drawn = facts(picture.captions[2]), picture.attributes
        assert (message["kind"], message["facing"], message["scene"]) == (picture.kind, picture.facing, drawn["scene"])
        assert message["time"] == ("" if drawn["scene"] == "night" else drawn["time"])
        assert bool(message["rider"]) == bool(drawn["rider"])
        assert message["occluder"] == (drawn["occluder"] or "")
        assert message["gait"] == (drawn.get("gait") or "")
        for gear, key in (("mane", "mane"), ("saddle", "saddle"), ("bandages", "wraps")):
            assert message[gear] == (drawn.get(key) or "")
        assert message["colour"].split()[0] in (drawn["colour"], "striped")


def test_agreement_on_a_hand_worked_case():
    truth = [
        "a photo of a brown horse, ridden by a person, walking, facing left, in a meadow at noon",
        "a photo of a red car, facing right, in a town at dusk",
    ]
    message = [
        "a photo of a black horse, walking, facing left, in a meadow at noon",
        "a photo of a red car, facing right, in a town at dusk",
    ]
    shares = agreement(message, truth)
    assert shares == {
        "exact": 0.5,
        "kind": 1.0,
        "colour": 0.5,
        "facing": 1.0,
        "scene": 1.0,
        "time": 1.0,
        "gait": 1.0,  # of the one picture that has one
        "rider": 0.0,
    }
    assert all(agreement(["nonsense"], truth[:1])[name] == 0 for name in ALWAYS)


def test_accuracy_is_of_pictures_and_captions_that_belong_together():
    class Oracle:
        name, fingerprint = "oracle", ""

        def caption(self, photos):
            seeds = [int(photo.name.split()[-1]) for photo in photos]
            assert all(photo.digest == open_photo(draw(seed).image).digest for photo, seed in zip(photos, seeds))
            return [draw(seed).captions[2] for seed in seeds]

    accuracy = caption_accuracy(Oracle(), 3)
    assert accuracy["pictures"] == 3
    assert accuracy["exact"] == accuracy["kind"] == 1.0
    assert len(accuracy["examples"]) == 3


def test_a_picture_without_words_counts_as_wrong():
    class Shy:
        name, fingerprint = "shy", ""

        def caption(self, photos):
            if any(int(photo.name.split()[-1]) % 2 for photo in photos):
                raise BadInput("nothing to say")
            return [draw(int(photo.name.split()[-1])).captions[2] for photo in photos]

    assert caption_accuracy(Shy(), 4)["exact"] == 0.5
