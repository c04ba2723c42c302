"""Learned words: what diffusers' own loader makes of them, and a model that is not changed at all."""

from __future__ import annotations

import shlex
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file

import shiftless
from shiftless import BadInput, Recipe
from shiftless.auditing.candidates import candidates
from shiftless.auditing.compared import is_bare
from shiftless.backbones.registry import models
from shiftless.backbones.sdxl import StableDiffusionXL
from shiftless.backbones.twins import twin_parts
from shiftless.header import Origin
from shiftless.image import open_photo
from shiftless.store.key import key_of
from tests.conditions.lora_writers import CROSS_Q, TEXT, low_rank, peft

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
PROMPT = "a photo of <cat-toy>, here"
MAP = "up1.attn0.block0.cross.map"


@pytest.fixture(scope="module")
def xl():
    return shiftless.load("twin:sdxl", device="cpu", dtype="fp32")


def vectors(count, width=32, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def save(tmp_path):
    def write(name, state):
        save_file(state, tmp_path / name)
        return str(tmp_path / name)

    return write


def worded(model, names, prompt, **options):
    with model.worded(names):
        return model.encode_prompt([prompt], **options)


@pytest.mark.parametrize(
    ("name", "state", "word", "prompt"),
    [
        ("a", {"<cat-toy>": vectors(1)[0]}, "<cat-toy>", PROMPT),
        ("b", {"<cat-toy>": vectors(1)}, "<cat-toy>", "<cat-toy><cat-toy>"),
        ("c", {"<cat-toy>": vectors(4)}, "<cat-toy>", "a <cat-toy> and another <cat-toy>."),
        ("EasyStyle", {"emb_params": vectors(1)}, "EasyStyle", "easystyle, a horse in EasyStyle"),
        ("my style", {"emb_params": vectors(2).half()}, "my style", "in my style of my house"),
        ("c", {"cat": vectors(2)}, "cat", "a category of cats"),
    ],
)
def test_the_embeddings_are_those_of_diffusers_own_loader(twin, save, name, state, word, prompt):
    file = save(f"{name}.safetensors", state)
    parts = twin_parts(models()["sd15"])
    pipe = StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.load_textual_inversion(file, token=word)
    theirs = pipe.encode_prompt(prompt, "cpu", 1, False)[0]
    ours = worded(twin, [file], prompt)
    assert torch.equal(ours.embeds, theirs)
    count = len(next(iter(state.values())).reshape(-1, 32))
    assert ours.words[0].count(f"{word} ") == prompt.lower().count(word.lower()) * count
    assert not torch.allclose(ours.embeds, twin.encode_prompt([prompt]).embeds, atol=1e-3)


def test_capitals_do_not_hide_a_word_of_several_vectors(twin, save):
    """diffusers finds the vectors after the first by the word in lower case only: here they are written out for it."""
    file = save("EasyStyle.safetensors", {"emb_params": vectors(3)})
    parts = twin_parts(models()["sd15"])
    pipe = StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.load_textual_inversion(file, token="EasyStyle")
    theirs = pipe.encode_prompt("a horse in EasyStyle EasyStyle_1 EasyStyle_2.", "cpu", 1, False)[0]
    assert torch.equal(worded(twin, [file], "a horse in easystyle.").embeds, theirs)


def test_several_words_are_loaded_as_diffusers_loads_them(twin, save):
    files = [save("a.safetensors", {"<a>": vectors(2)}), save("b.safetensors", {"<b>": vectors(1, seed=1)})]
    parts = twin_parts(models()["sd15"])
    pipe = StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.load_textual_inversion(files)
    theirs = pipe.encode_prompt("<b> beside <a>", "cpu", 1, False)[0]
    assert torch.equal(worded(twin, files, "<b> beside <a>").embeds, theirs)
    renamed = worded(twin, [f"<first>={files[0]}", files[1]], "<b> beside <first>")
    assert torch.equal(renamed.embeds, theirs)


@pytest.mark.parametrize("keys", [("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1")])
def test_both_text_encoders_of_sdxl_are_given_their_own_vectors(xl, save, keys):
    state = {keys[0]: vectors(2), keys[1]: vectors(2, seed=1)}
    file = save("toy.safetensors", state)
    parts = StableDiffusionXL.twin_parts(models()["sdxl"])
    pipe = StableDiffusionXLPipeline(**parts, add_watermarker=False)
    for i, end in enumerate(("", "_2")):
        encoder, tokenizer = getattr(pipe, f"text_encoder{end}"), getattr(pipe, f"tokenizer{end}")
        pipe.load_textual_inversion({"toy": state[keys[i]]}, text_encoder=encoder, tokenizer=tokenizer)
    prompt = "a toy, here"
    embeds, _, pooled, _ = pipe.encode_prompt(prompt, do_classifier_free_guidance=False, device="cpu")
    ours = worded(xl, [file], prompt, size=(64, 64))
    assert torch.equal(ours.embeds, embeds)
    assert torch.equal(ours.extra["text_embeds"], pooled)
    assert not torch.allclose(pooled, xl.encode_prompt([prompt]).extra["text_embeds"], atol=1e-3)


def test_the_prompts_end_is_found_whatever_the_words_numbers_are(xl, save):
    """Published configs name token 2 as the end, by which transformers takes the largest number for it."""
    file = save("toy.safetensors", {"clip_l": vectors(2), "clip_g": vectors(2, seed=1)})
    ours = worded(xl, [file], "a toy").extra["text_embeds"]
    encoder = xl.networks["text_encoder_2"]
    other = StableDiffusionXL.twin_parts(models()["sdxl"])["text_encoder_2"]
    other.load_state_dict(encoder.state_dict())
    for module in other.modules():
        if hasattr(module, "eos_token_id"):
            module.eos_token_id = 2
    xl.networks["text_encoder_2"] = other.eval().requires_grad_(False)
    try:
        assert torch.equal(worded(xl, [file], "a toy").extra["text_embeds"], ours)
    finally:
        xl.networks["text_encoder_2"] = encoder


def test_the_model_is_as_it_was_and_prompts_without_the_words_are_too(twin, save):
    file = save("toy.safetensors", {"<cat-toy>": vectors(3)})
    before = {name: value.clone() for name, value in twin.text_encoder.state_dict().items()}
    fingerprint, vocabulary = twin.fingerprint, twin.tokenizer.get_vocab()
    plain = twin.encode_prompt(["a horse"]).embeds
    recipe = Recipe(prompt=PROMPT, textual_inversion=file)
    bare = shiftless.extract(twin, PICTURE, recipe.but(textual_inversion=()))
    assert not torch.allclose(shiftless.extract(twin, PICTURE, recipe)["up1"], bare["up1"], atol=1e-4)
    assert torch.equal(shiftless.extract(twin, PICTURE, recipe.but(textual_inversion=()))["up1"], bare["up1"])
    assert torch.equal(worded(twin, [file], "a horse").embeds, plain)
    assert (twin.fingerprint, twin.tokenizer.get_vocab()) == (fingerprint, vocabulary)
    after = twin.text_encoder.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(module._forward_hooks for module in twin.text_encoder.modules())


def test_attention_maps_are_read_by_the_learned_word(twin, save):
    file = save("toy.safetensors", {"<Cat-Toy>": vectors(3)})
    recipe = Recipe(taps=(f"{MAP}:<cat-toy>", MAP), prompt=PROMPT, textual_inversion=file)
    maps = shiftless.extract(twin, PICTURE, recipe)
    columns = [i for i, word in enumerate(maps.words) if word == "<Cat-Toy> "]
    assert len(columns) == 3
    torch.testing.assert_close(maps[f"{MAP}:<cat-toy>"], maps[MAP][:, columns].mean(1, keepdim=True))
    assert maps[f"{MAP}:<cat-toy>"].shape[1] == 1
    with pytest.raises(BadInput, match="does not hold the word 'cat'"):
        shiftless.extract(twin, PICTURE, recipe.but(taps=(f"{MAP}:cat",)))


def test_a_long_prompt_does_not_cut_a_word_of_several_vectors(twin, save):
    file = save("toy.safetensors", {"<cat-toy>": vectors(6)})
    words = worded(twin, [file], "a b c d e f g h " * 9 + "<cat-toy>").words[0]
    assert len(words) == 2 * 77
    assert words.index("<cat-toy> ") == 77 + 1


def test_recipes_of_other_words_share_a_call_and_nothing_else(twin, save):
    calls = []
    files = [save(f"{i}.safetensors", {"<cat-toy>": vectors(1, seed=i)}) for i in range(2)]
    recipes = [Recipe(prompt=PROMPT, textual_inversion=file) for file in files]
    handle = twin.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    bucket = shiftless.extract(twin, PICTURE, recipes)
    handle.remove()
    assert len(calls) == 1
    for recipe, maps in zip(recipes, bucket):
        alone = shiftless.extract(twin, PICTURE, recipe)
        torch.testing.assert_close(maps["up1"], alone["up1"], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(bucket[0]["up1"], bucket[1]["up1"], atol=1e-4)


def test_threads_do_not_speak_each_others_words(save):
    twin = shiftless.load("twin:sd15", device="cpu", dtype="fp32")
    files = [save(f"{i}.safetensors", {"<cat-toy>": vectors(1, seed=i)}) for i in range(4)]
    alone = [worded(twin, [file], PROMPT).embeds for file in files]
    plain = twin.encode_prompt([PROMPT]).embeds
    twin._prompts.clear()
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda file: worded(twin, [file] if file else [], PROMPT).embeds, [*files, ""] * 3))
    assert all(torch.equal(one, other) for one, other in zip(together, [*alone, plain] * 3))


def test_a_file_is_known_by_its_contents(twin, save):
    first = save("toy.safetensors", {"<cat-toy>": vectors(1)})
    recipe = Recipe(prompt=PROMPT, textual_inversion=first)
    before, digest = shiftless.extract(twin, PICTURE, recipe), twin.digest("textual_inversion", first)
    assert before.origin.adapters == ((f"textual_inversion {first}", digest),)
    assert twin.digest("textual_inversion", save("other.safetensors", {"<cat-toy>": vectors(1)})) == digest
    assert twin.digest("textual_inversion", f"<x>={first}") != digest
    save("toy.safetensors", {"<cat-toy>": vectors(1, seed=1)})
    after = shiftless.extract(twin, PICTURE, recipe)
    assert not torch.allclose(after["up1"], before["up1"], atol=1e-4)
    assert "two versions of textual_inversion" in before.origin.conflict(after.origin)
    other = Origin(adapters=(("textual_inversion", "1f"),))
    keys = {key_of(one, r, (64, 64), "", "fp16") for one in (other, Origin()) for r in (recipe, Recipe(prompt=PROMPT))}
    assert len(keys) == 4


def test_it_composes_with_every_other_technique(twin, save, tmp_path):
    lora = save("look.safetensors", peft(low_rank(twin, (CROSS_Q, *TEXT))))
    (tmp_path / "trained").mkdir()
    save_file({"<cat-toy>": vectors(2)}, tmp_path / "trained" / "learned_embeds.safetensors")
    words = Recipe(prompt=PROMPT, textual_inversion=str(tmp_path / "trained"))
    every = words.but(lora=lora, control="canny", image_prompt="ip-adapter", start=70, steps=2, ensemble=2)
    with_words, without = shiftless.extract(twin, PICTURE, [every, every.but(textual_inversion=())])
    assert not torch.allclose(with_words["up1"], without["up1"], atol=1e-4)
    with twin.adapted([(lora, 1.0)]):
        adapted = worded(twin, words.textual_inversion, PROMPT).embeds
    assert not torch.allclose(adapted, worded(twin, words.textual_inversion, PROMPT).embeds, atol=1e-4)


def test_an_audit_gives_each_prompt_the_words_that_it_names(twin, save):
    file = save("toy.safetensors", {"<cat-toy>": vectors(2)})
    recipe = Recipe(timestep=300, textual_inversion=file)
    tried = candidates(twin, recipe, prompts=["<cat-toy>", "a brown horse"], controls=["canny"])
    assert [(one.prompt, one.textual_inversion) for one in tried] == [
        ("", ()), ("<cat-toy>", (file,)), ("a brown horse", ()), ("", ()), ("<cat-toy>", (file,)),
    ]  # fmt: skip
    assert not is_bare(tried[1])
    result = shiftless.audit(twin, [PICTURE], tried, finish=0)
    assert [one.label for one in result.recipes][1] == 't=300 "<cat-toy>", word toy'
    with pytest.raises(BadInput, match="no prompt names <cat-toy>, its learned word; give one that does"):
        candidates(twin, recipe, prompts=["a horse"])


def test_a_prompt_that_does_not_name_the_word_is_refused(twin, save):
    recipe = Recipe(textual_inversion=save("toy.safetensors", {"<cat-toy>": vectors(1)}))
    opened = []
    photos = (opened.append(1) or PICTURE for _ in range(2))
    with pytest.raises(BadInput, match="the prompt 'a horse' does not name <cat-toy>, the learned word of"):
        list(shiftless.stream(twin, photos, recipe.but(prompt="a horse")))
    assert opened == []
    fielded, photo = recipe.but(prompt="a {thing}"), open_photo(PICTURE)
    shiftless.extract(twin, photo, fielded, fill={"thing": "<CAT-TOY>"})
    skipped = []
    assert list(shiftless.stream(twin, [PICTURE], fielded, fill={"thing": "horse"}, skipped=skipped)) == []
    assert len(skipped) == 1
    assert "the prompt 'a horse' does not name <cat-toy>" in skipped[0]


def test_what_cannot_be_taken_is_one_line(twin, xl, save, tmp_path):
    def says(name, model=twin, prompt=PROMPT):
        with pytest.raises(BadInput) as raised:
            shiftless.extract(model, PICTURE, Recipe(taps=(model.taps[0].name,), prompt=prompt, textual_inversion=name))
        assert "\n" not in str(raised.value)
        return str(raised.value)

    good = save("good.safetensors", {"<cat-toy>": vectors(1)})
    two = save("two.safetensors", {"clip_l": vectors(1), "clip_g": vectors(1)})
    assert "no such file; give a .safetensors file" in says(str(tmp_path / "gone.safetensors"))
    assert "the word before = is empty" in says(f"={good}")
    wide = save("wide.safetensors", {"<cat-toy>": vectors(1, 768)})
    assert "<cat-toy> is 768 wide (as for Stable Diffusion 1), and this model's words are 32" in says(wide)
    assert "two was learned for two text encoders, as Stable Diffusion XL has, and this model has 1" in says(two)
    assert "<cat-toy> was learned for one text encoder, and this model has 2" in says(good, xl)
    assert "both are called <CAT-toy>; give one another name, as WORD=FILE" in says((good, f"<CAT-toy>={good}"))
    assert "the model's own vocabulary holds 'a'; give the learned word another name, as '<a>=" in says(f"a={good}")
    assert "holds 2 tensors, such as a" in says(save("b.safetensors", {"a": vectors(1), "b": vectors(1)}))
    assert "it holds nothing" in says(save("b.safetensors", {}))
    assert "no list of vectors ([2, 2, 2])" in says(save("b.safetensors", {"<x>": torch.zeros(2, 2, 2)}))
    assert "no list of vectors" in says(save("b.safetensors", {"<x>": torch.zeros(0, 32)}))
    assert "no list of vectors" in says(save("b.safetensors", {"<x>": torch.zeros(1, 32, dtype=torch.int64)}))
    assert "holds 76 vectors, and a prompt has room for 75" in says(save("b.safetensors", {"<x>": vectors(76)}))
    assert "not finite" in says(save("b.safetensors", {"<x>": torch.full((1, 32), torch.nan)}))
    assert "names no word" in says(save("b.safetensors", {" ": vectors(1)}))
    uneven = {"clip_l": vectors(1), "clip_g": vectors(2)}
    assert "different numbers of vectors" in says(save("b.safetensors", uneven), xl)
    (tmp_path / "b.safetensors").write_bytes(b"rubbish")
    assert "not a whole safetensors file" in says(str(tmp_path / "b.safetensors"))
    pixart = shiftless.load("twin:pixart-alpha", device="cpu", dtype="fp32")
    assert "textual_inversion cannot steer a model of the pixart family" in says(good, pixart)


@pytest.mark.parametrize("published", [{"<cat-toy>": vectors(2)}, {"string_to_param": {"*": vectors(2)}, "name": "x"}])
def test_a_pickle_is_refused_with_the_command_that_converts_it(twin, tmp_path, published):
    torch.save(published, tmp_path / "learned_embeds.bin")
    with pytest.raises(BadInput, match=r"are read from \.safetensors only; make one of it with: python -c") as raised:
        twin.textual_inversion(str(tmp_path))
    command = shlex.split(str(raised.value).partition("with: ")[2])
    assert command[:2] == ["python", "-c"]
    exec(compile(command[2], "the command", "exec"), {"__name__": "__main__"})  # torch need not be imported anew
    word = twin.textual_inversion(str(tmp_path))
    assert torch.equal(word.vectors[0], vectors(2))
    assert word.token == ("<cat-toy>" if "<cat-toy>" in published else "learned_embeds")
