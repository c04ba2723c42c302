"""One model in several threads: every thread gets what it would get alone, to the bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import shiftless
from shiftless import Recipe
from shiftless.conditions.silence import silenced
from shiftless.taps.lock import exclusive

RNG = np.random.default_rng(8)
PICTURES = [RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(4)]
THREADS = 4


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32", size=64)


@pytest.fixture(scope="module")
def lora(goldens):
    return str(goldens / "tiny-lora" / "pytorch_lora_weights.safetensors")


def same(one, other):
    return list(one) == list(other) and all(torch.equal(one[tap], other[tap]) for tap in one)


def test_four_threads_of_four_extracts_give_the_serial_answers(model, lora):
    """Each thread reads other taps, with its own techniques: LoRAs of the denoiser and the text encoder among them."""
    recipes = [
        Recipe(taps=("up0", "up1.attn0.block0.cross.map"), prompt="a red horse"),
        Recipe(taps=("up1",), prompt="a red horse", lora=(lora,)),
        Recipe(taps=("mid", "up1"), control=("canny",), start=60, steps=2),
        Recipe(taps=("up2",), prompt="a red horse", lora=(lora,), lora_scale=0.5),
    ]
    alone = [[shiftless.extract(model, picture, recipe) for picture in PICTURES] for recipe in recipes]
    fresh = shiftless.load("twin:sd15", device="cpu", dtype="fp32", size=64)  # nothing kept of prompts and ControlNets

    def read(recipe):
        return [shiftless.extract(fresh, picture, recipe) for picture in PICTURES]

    with ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        together = list(pool.map(read, recipes))
    for serial, threaded in zip(alone, together, strict=True):
        assert all(same(a, b) for a, b in zip(serial, threaded, strict=True))


def test_a_stream_leaves_the_model_free_while_its_consumer_works(model, lora):
    recipe = Recipe(taps=("up1",), prompt="a red horse", lora=(lora,))
    stream = shiftless.stream(model, PICTURES[:2], [recipe, Recipe(taps=("up0",))], batch=1)
    first = next(stream)
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        between = pool.submit(shiftless.extract, model, PICTURES[0], recipe).result(timeout=60)
    assert same(between, first[0])
    assert len(list(stream)) == 1


def test_a_module_in_use_is_waited_for_and_may_be_used_again_by_its_own_thread():
    module, order = torch.nn.Linear(2, 2), []

    def wait():
        with exclusive(module, None):
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        with exclusive(module), exclusive(module):
            waiting = pool.submit(wait)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.05)
            order.append("first")
        waiting.result(timeout=60)
    assert order == ["first", "second"]


def test_silence_in_two_threads_ends_with_the_last():
    """The first to end must not let the other's messages through, the last must put the settings back."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    one, two = silenced(), silenced()
    one.__enter__()
    two.__enter__()
    one.__exit__(None, None, None)
    assert logging.get_verbosity() == logging.ERROR
    two.__exit__(None, None, None)
    assert logging.get_verbosity() == before != logging.ERROR
