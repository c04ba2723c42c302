"""LoRA files as tools write them: each layout gives what a model with the weights merged by hand gives."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import save_file

import shiftless
from shiftless import BadInput
from shiftless.conditions.lora import adapted
from shiftless.conditions.lora_file import lora_files, read_config

DOWN, MID, UP = "down_blocks.0.attentions.0", "mid_block.attentions.0", "up_blocks.1.attentions.0"
CROSS_Q, CROSS_K, OUT = (f"{UP}.transformer_blocks.0.attn2.{name}" for name in ("to_q", "to_k", "to_out.0"))
SELF_V, MID_Q = f"{DOWN}.transformer_blocks.0.attn1.to_v", f"{MID}.transformer_blocks.0.attn1.to_q"
FEED = (f"{UP}.transformer_blocks.0.ff.net.0.proj", f"{UP}.transformer_blocks.0.ff.net.2")
ATTENTION = (CROSS_Q, CROSS_K, OUT, SELF_V, MID_Q)
CONVOLUTIONS = (
    "up_blocks.3.resnets.0.conv1", "up_blocks.3.resnets.0.conv_shortcut", "down_blocks.0.downsamplers.0.conv",
    "up_blocks.1.upsamplers.0.conv", "conv_in",
)  # fmt: skip
TIME = ("up_blocks.3.resnets.0.time_emb_proj",)
PROJECTIONS = (f"{UP}.proj_in", f"{DOWN}.proj_out")
TEXT = tuple(f"text_model.encoder.layers.0.{name}" for name in ("self_attn.q_proj", "self_attn.out_proj", "mlp.fc1"))
TOLERANCE = 3e-6  # of the largest value


@pytest.fixture(scope="module")
def model():
    return shiftless.load("twin:sd15", device="cpu", dtype="fp32")


def layer(models, path):
    """The layer that a path names, with or without transformers' `text_model.`."""
    for name in (path, path.removeprefix("text_model.")):
        part = models["text_encoder" if path in TEXT else "unet"]
        if name in dict(part.named_modules()):
            return part.get_submodule(name)
    raise KeyError(path)


def parts_of(model):
    return {"unet": model.unet, "text_encoder": model.text_encoder}


def low_rank(model, paths, rank=4, seed=0):
    """The one set of random matrices that all layouts hold: path -> (down, up), as large as the weights' own."""
    pairs = {}
    for number, path in enumerate(paths):
        generator = torch.Generator().manual_seed(1000 * seed + number)
        weight = layer(parts_of(model), path).weight
        r = rank(number) if callable(rank) else rank
        down = torch.randn(r, *weight.shape[1:], generator=generator)
        up = torch.randn(weight.shape[0], r, *[1] * (weight.ndim - 2), generator=generator)
        pairs[path] = down * weight.std() / r**0.5, up
    return pairs


def product(down, up, shape):
    return (up.flatten(1) @ down.flatten(1)).view(shape)


def read(parts, latent, ids):
    """The prediction of plain parts for one latent and prompt."""
    with torch.no_grad():
        words = parts["text_encoder"](input_ids=ids).last_hidden_state
        return parts["unet"](latent, 50, words, return_dict=False)[0]


@pytest.fixture(scope="module")
def reading(model):
    latent = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[(7 * i) % 500 for i in range(77)]])
    return lambda parts=None: read(parts or parts_of(model), latent, ids)


@contextmanager
def merged(model, weights):
    """Put whole weights into the model: path -> weight."""
    kept = {}
    for path, weight in weights.items():
        result = layer(parts_of(model), path)
        kept[path] = result.weight.data
        result.weight.data = weight
    try:
        yield
    finally:
        for path, weight in kept.items():
            layer(parts_of(model), path).weight.data = weight


def part_of(path):
    return "text_encoder" if path in TEXT else "unet"


def named(pairs, down, up, form="{part}.{path}"):
    """Tensors under names; `form` may ask for the path, with underscores, or without its last name."""
    state = {}
    for path, halves in pairs.items():
        stem = form.format(part=part_of(path), path=path)
        state[f"{stem}.{down}"], state[f"{stem}.{up}"] = halves
    return state


def peft(pairs, form="{part}.{path}", adapter=""):
    return named(pairs, f"lora_A{adapter}.weight", f"lora_B{adapter}.weight", form)


def newer(pairs):
    return named(pairs, "lora.down.weight", "lora.up.weight")


def processors(pairs, prefix="unet."):
    """diffusers before 0.21: the halves belong to attention processors."""
    state = {}
    for path, (down, up) in pairs.items():
        attention, name = path.removesuffix(".0").rsplit(".", 1)
        stem = f"{prefix}{attention}.processor.{name}_lora"
        state |= {f"{stem}.down.weight": down, f"{stem}.up.weight": up}
    return state


def old_text(pairs):
    names = {"q_proj": "to_q_lora", "out_proj": "to_out_lora"}
    state = {}
    for path, (down, up) in pairs.items():
        stem, _, name = path.rpartition(".")
        name = names.get(name, f"{name}.lora_linear_layer")
        state |= {f"text_encoder.{stem}.{name}.down.weight": down, f"text_encoder.{stem}.{name}.up.weight": up}
    return state


def kohya(pairs, alpha=lambda number, rank: rank, text="lora_te"):
    state = {}
    for number, (path, (down, up)) in enumerate(pairs.items()):
        stem = f"{text if path in TEXT else 'lora_unet'}_{path.replace('.', '_')}"
        state |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
        value = alpha(number, len(down))
        if value is not None:
            state[f"{stem}.alpha"] = torch.tensor(float(value))
    return state


def saved_alpha(**settings):
    """The settings as diffusers keeps them in a file's metadata."""
    settings = {"target_modules": [*ATTENTION, *FEED], **settings}
    return {"lora_adapter_metadata": json.dumps({f"unet.{key}": value for key, value in settings.items()})}


@dataclass
class Layout:
    """A way of writing a LoRA.

    write     path -> (down, up) -> the tensors of its file, or of each of its files
    scale     what the merged weight takes of up down: a number, or one for (number of the layer, rank)
    theirs    what diffusers' own loader makes of it: "same", "other" numbers, or None where it is not asked
    """

    name: str
    write: Callable
    paths: tuple[str, ...] = (*ATTENTION, *FEED)
    scale: object = 1.0
    rank: object = 4
    theirs: str | None = "same"
    metadata: dict | None = None
    config: dict | None = None
    dtype: torch.dtype = torch.float32


def flat(pairs):
    """A 1 x 1 convolution saved as a linear layer, and the other way round."""
    return {p: (d[:, :, 0, 0], u[:, :, 0, 0]) if d.ndim == 4 else (d[:, :, None, None], u[:, :, None, None])
            for p, (d, u) in pairs.items()}  # fmt: skip


def wrapped(pairs):
    return peft(pairs, "base_model.model.{path}")


def folders(pairs):
    """What peft's own training example saves: a folder for each part."""
    return {part: wrapped({p: halves for p, halves in pairs.items() if part_of(p) == part})
            for part in ("unet", "text_encoder")}  # fmt: skip


def varying(number, rank):
    return (1, 8, 3)[number % 3]


LAYOUTS = [
    Layout("peft names", peft),
    Layout("peft names, everything", peft, (*ATTENTION, *FEED, *CONVOLUTIONS, *TIME, *PROJECTIONS, *TEXT)),
    Layout("lora.down", newer),
    Layout("processors", processors, ATTENTION),
    Layout("processors without a part", lambda pairs: processors(pairs, ""), ATTENTION, theirs=None),
    Layout("without a part", lambda pairs: peft(pairs, "{path}"), theirs=None),
    Layout("down blocks only", peft, (SELF_V,)),
    Layout("middle block only", peft, (MID_Q, f"{MID}.transformer_blocks.0.ff.net.2", "mid_block.resnets.1.conv2")),
    Layout("up blocks only", peft, (CROSS_Q, OUT)),
    Layout("attention only", peft, ATTENTION),
    Layout("feed-forward only", peft, FEED),
    Layout("convolutions", peft, CONVOLUTIONS),
    Layout("projections", peft, PROJECTIONS),
    Layout("1 x 1 convolutions as linear and linear ones as convolutions",
           lambda pairs: peft(flat(pairs)), (*PROJECTIONS, CROSS_Q), theirs=None),
    Layout("text encoder only", peft, TEXT),
    Layout("text encoder without text_model",
           lambda pairs: {k.replace("text_model.", ""): v for k, v in peft(pairs).items()}, TEXT),
    Layout("lora_linear_layer",
           lambda pairs: named(pairs, "lora_linear_layer.down.weight", "lora_linear_layer.up.weight"), TEXT),
    Layout("text encoder, processors", old_text, TEXT),
    Layout("kohya", kohya),
    Layout("kohya, both parts", kohya, (*ATTENTION, *TEXT)),
    Layout("kohya, text encoder only", kohya, TEXT),
    Layout("kohya, lora_te1", lambda pairs: kohya(pairs, text="lora_te1"), (*ATTENTION, *TEXT)),
    Layout("kohya without alpha", lambda pairs: kohya(pairs, lambda number, rank: None)),
    Layout("kohya, alpha of half the rank", lambda pairs: kohya(pairs, lambda number, rank: rank / 2), scale=0.5),
    Layout("kohya, alpha varying by layer", lambda pairs: kohya(pairs, varying), ATTENTION, theirs=None,
           scale=lambda number, rank: varying(number, rank) / rank),
    Layout("kohya, rank and alpha varying by layer", lambda pairs: kohya(pairs, varying), ATTENTION,
           scale=lambda number, rank: varying(number, rank) / rank, rank=lambda number: 2 + number, theirs="other"),
    Layout("kohya, alpha missing on some layers",
           lambda pairs: kohya(pairs, lambda number, rank: None if number % 2 else 1), ATTENTION,
           scale=lambda number, rank: 1 if number % 2 else 1 / rank, theirs="other"),
    Layout("kohya, LoCon", kohya, (*CONVOLUTIONS, *TIME, *PROJECTIONS)),
    Layout("half precision", peft, dtype=torch.float16),
    Layout("bfloat16", kohya, dtype=torch.bfloat16),
    Layout("saved alpha", peft, metadata=saved_alpha(r=4, lora_alpha=8), scale=2.0),
    Layout("saved pattern of alpha", peft, (CROSS_Q, CROSS_K), theirs=None,
           metadata=saved_alpha(r=4, lora_alpha=4, alpha_pattern={CROSS_K: 6}),
           scale=lambda number, rank: (1.0, 1.5)[number]),
    Layout("saved with rank-stabilised scale", peft, scale=2.0,
           metadata=saved_alpha(r=4, lora_alpha=4, use_rslora=True)),
    Layout("alphas beside peft's names",
           lambda pairs: peft(pairs) | {f"unet.{path}.alpha": torch.tensor(2.0) for path in pairs},
           scale=0.5, theirs=None),
    Layout("unet.base_model.model", lambda pairs: peft(pairs, "{part}.base_model.model.{path}"), (*ATTENTION, *TEXT),
           theirs=None),
    Layout(".default", lambda pairs: peft(pairs, adapter=".default"), (*ATTENTION, *TEXT), theirs=None),
    Layout("peft folder", wrapped, config={"r": 4, "lora_alpha": 8}, scale=2.0, theirs=None),
    Layout("peft folder of the text encoder", wrapped, TEXT, config={"r": 4, "lora_alpha": 2}, scale=0.5, theirs=None),
    Layout("peft folder, .default", lambda pairs: peft(pairs, "base_model.model.{path}", ".default"),
           config={"r": 4, "lora_alpha": 4, "use_rslora": True}, scale=2.0, theirs=None),
    Layout("peft folder, patterns", wrapped, (CROSS_Q, CROSS_K), rank=lambda number: (4, 2)[number], theirs=None,
           config={"r": 4, "lora_alpha": 4, "rank_pattern": {"to_k": 2}, "alpha_pattern": {"attn2.to_k": 6}},
           scale=lambda number, rank: (1.0, 3.0)[number]),
    Layout("two peft folders", folders, (*ATTENTION, *TEXT), config={"r": 4, "lora_alpha": 8}, scale=2.0, theirs=None),
]  # fmt: skip


def written(layout, state, folder):
    """Write a layout's tensors as the tool would and return what a user would give."""

    def save(tensors, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {key: value.to(layout.dtype).clone().contiguous() for key, value in tensors.items()}
        save_file(kept, path, layout.metadata)
        if layout.config is not None:
            (path.parent / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **layout.config}))

    if layout.config is None:
        save(state, folder / "lora.safetensors")
        return str(folder / "lora.safetensors")
    parts = state if all(isinstance(value, dict) for value in state.values()) else {"": state}
    for part, tensors in parts.items():
        save(tensors, folder / part / "adapter_model.safetensors")
    return str(folder)


def by_diffusers(model, path, reading):
    """The reading through diffusers' own loader."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    copied = {name: copy.deepcopy(part) for name, part in parts_of(model).items()}
    pipe = StableDiffusionPipeline(
        **copied, vae=model.vae, tokenizer=model.tokenizer, scheduler=DDIMScheduler(), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.load_lora_weights(path)
    return reading({"unet": pipe.unet, "text_encoder": pipe.text_encoder})


def difference(a, b):
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.filterwarnings("ignore:The following alpha_pattern keys:RuntimeWarning")  # of diffusers' "other"
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_layout_gives_what_merging_by_hand_gives(model, reading, tmp_path, layout):
    pairs = low_rank(model, layout.paths, layout.rank)
    pairs = {p: tuple(half.to(layout.dtype).float() for half in halves) for p, halves in pairs.items()}
    file = written(layout, layout.write(pairs), tmp_path)
    whole = {}
    for number, (path, (down, up)) in enumerate(pairs.items()):
        weight = layer(parts_of(model), path).weight.data
        scale = layout.scale(number, len(down)) if callable(layout.scale) else layout.scale
        whole[path] = weight + 0.7 * scale * product(down, up, weight.shape)
    plain = reading()
    with merged(model, whole):
        truth = reading()
    assert difference(plain, truth) > 1e-3  # or nothing would be shown
    with adapted(model.unet, model.text_encoder, [(file, 0.7)]):
        ours = reading()
    assert difference(ours, truth) < TOLERANCE
    assert torch.equal(reading(), plain)
    if layout.theirs:
        with adapted(model.unet, model.text_encoder, [(file, 1.0)]):
            ours = reading()
        theirs = by_diffusers(model, file, reading)
        assert (difference(theirs, ours) < TOLERANCE) is (layout.theirs == "same")


def decomposed(weight, delta, magnitude):
    whole = weight + delta
    columns = magnitude.ndim == 2
    lengths = (whole.transpose(0, 1) if columns else whole).flatten(1).norm(dim=1)
    gain = (magnitude.flatten() / lengths).view((1, -1) if columns else (-1, 1))
    return whole * gain.view(*gain.shape, *[1] * (weight.ndim - 2))


def magnitudes(model, pairs, columns=False):
    """Lengths of each weight's rows or columns, changed by up to a fifth."""
    lengths = {}
    for number, path in enumerate(pairs):
        weight = layer(parts_of(model), path).weight.data
        length = (weight.transpose(0, 1) if columns else weight).flatten(1).norm(dim=1)
        change = 0.2 * torch.rand(length.shape, generator=torch.Generator().manual_seed(number))
        lengths[path] = (length * (0.9 + change)).view((1, -1) if columns else (-1,))
    return lengths


EVERYTHING = (*ATTENTION, *FEED, *CONVOLUTIONS, *PROJECTIONS, *TEXT)


def dora_names(model, pairs, lengths, write=peft, form="{part}.{path}", suffix="lora_magnitude_vector"):
    state = write(pairs)
    for path, length in lengths.items():
        convolution = layer(parts_of(model), path).weight.ndim == 4
        name = f"{form.format(part=part_of(path), path=path)}.{suffix}"
        state[name] = length[None, :, None, None] if convolution else length  # the shapes that peft saves
    return state


def kohya_dora(model, pairs, lengths):
    state = kohya(pairs, lambda number, rank: rank / 2)
    for path, length in lengths.items():
        ones = [1] * (layer(parts_of(model), path).weight.ndim - 2)
        stem = f"{'lora_te' if path in TEXT else 'lora_unet'}_{path.replace('.', '_')}"
        state[f"{stem}.dora_scale"] = length.view(*((1, -1) if length.ndim == 2 else (-1, 1)), *ones)
    return state


DORAS = {  # write, layers, whose lengths, alpha / rank, settings of peft
    "peft names": (dora_names, EVERYTHING, False, 1.0, None),
    "lora.down": (lambda *a: dora_names(*a, write=newer), ATTENTION, False, 1.0, None),
    "peft names, .default.weight": (
        lambda *a: dora_names(*a, suffix="lora_magnitude_vector.default.weight"), FEED, False, 1.0, None),
    "peft folder": (
        lambda *a: dora_names(*a, write=wrapped, form="base_model.model.{path}"), ATTENTION, False, 2.0,
        {"r": 4, "lora_alpha": 8, "use_dora": True}),
    "kohya, rows": (kohya_dora, EVERYTHING, False, 0.5, None),
    "kohya, columns": (kohya_dora, EVERYTHING, True, 0.5, None),
}  # fmt: skip


@pytest.mark.parametrize("name", DORAS)
def test_a_dora_gives_what_merging_by_hand_gives(model, reading, tmp_path, name):
    write, paths, columns, scale, config = DORAS[name]
    pairs = low_rank(model, paths)
    lengths = magnitudes(model, pairs, columns)
    file = written(Layout(name, write, config=config), write(model, pairs, lengths), tmp_path)
    plain = reading()
    for strength in (1.0, 0.5):
        whole = {}
        for path, (down, up) in pairs.items():
            weight = layer(parts_of(model), path).weight.data
            whole[path] = decomposed(weight, strength * scale * product(down, up, weight.shape), lengths[path])
        with merged(model, whole):
            truth = reading()
        with adapted(model.unet, model.text_encoder, [(file, strength)]):
            ours = reading()
        assert difference(plain, truth) > 1e-3
        assert difference(ours, truth) < TOLERANCE
    assert torch.equal(reading(), plain)


def test_a_dora_is_what_diffusers_and_peft_make_of_it(model, reading, tmp_path):
    paths = (*ATTENTION, *FEED, *CONVOLUTIONS)
    pairs = low_rank(model, paths)
    state = dora_names(model, pairs, magnitudes(model, pairs))
    file = written(Layout("", peft), state, tmp_path)
    with adapted(model.unet, model.text_encoder, [(file, 1.0)]):
        ours = reading()
    assert difference(by_diffusers(model, file, reading), ours) < TOLERANCE


def test_what_peft_saves_is_what_we_read(model, reading, tmp_path):
    """A PeftModel of peft itself, plain and as a DoRA, saved by its own save_pretrained."""
    from peft import LoraConfig, get_peft_model

    for dora in (False, True):
        unet = copy.deepcopy(model.unet)
        config = LoraConfig(
            r=4, lora_alpha=12, target_modules=["to_q", "conv1", "ff.net.2"], init_lora_weights=False, use_dora=dora,
            rank_pattern={"conv1": 2}, alpha_pattern={"mid_block.*to_q": 3},
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            tuned = get_peft_model(unet, config).eval()
            for key, value in tuned.named_parameters():
                if "lora_magnitude" in key:
                    value.data *= 1.1
        tuned.save_pretrained(tmp_path / str(dora))
        with adapted(model.unet, model.text_encoder, [(str(tmp_path / str(dora)), 1.0)]):
            ours = reading()
        theirs = reading({"unet": tuned.base_model.model, "text_encoder": model.text_encoder})
        assert difference(ours, theirs) < TOLERANCE
        assert difference(ours, reading()) > 1e-3


def test_doras_and_loras_on_one_layer_add_up(model, reading, tmp_path):
    pairs, others = low_rank(model, (CROSS_Q,), seed=1), low_rank(model, (CROSS_Q,), seed=2)
    lengths = magnitudes(model, pairs)
    files = [
        written(Layout("", peft), dora_names(model, pairs, lengths), tmp_path / "dora"),
        written(Layout("", peft), peft(others), tmp_path / "plain"),
    ]
    weight = layer(parts_of(model), CROSS_Q).weight.data
    changed = decomposed(weight, product(*pairs[CROSS_Q], weight.shape), lengths[CROSS_Q])
    with merged(model, {CROSS_Q: 2 * changed - weight - 0.5 * product(*others[CROSS_Q], weight.shape)}):
        truth = reading()
    for loras in ([files[0], files[1], files[0]], [files[1], files[0], files[0]]):
        with adapted(model.unet, None, [(file, -0.5 if file == files[1] else 1.0) for file in loras]):
            assert difference(reading(), truth) < TOLERANCE


def test_rows_and_columns_on_one_layer_are_refused(model, tmp_path):
    pairs = low_rank(model, (CROSS_Q,))
    files = [
        written(Layout("", kohya), kohya_dora(model, pairs, magnitudes(model, pairs, columns)), tmp_path / str(columns))
        for columns in (False, True)
    ]
    with pytest.raises(BadInput, match="different kinds"), adapted(model.unet, None, [(file, 1.0) for file in files]):
        pytest.fail("they were taken")


def test_embeddings_beside_a_lora_are_left_out_and_named(model, reading, tmp_path):
    pairs = low_rank(model, ATTENTION)
    plain = written(Layout("", kohya), kohya(pairs), tmp_path / "plain")
    state = kohya(pairs) | {"bundle_emb.myword.string_to_param.*": torch.zeros(2, 32)}
    file = written(Layout("", kohya), state, tmp_path)
    with adapted(model.unet, None, [(plain, 1.0)]):
        without = reading()
    message = pytest.warns(UserWarning, match=r"^\S*lora.safetensors: .* embeddings in it \(myword\) are left out$")
    with message, adapted(model.unet, None, [(file, 1.0)]):
        assert torch.equal(reading(), without)


def poisoned(pairs, value, name="lora_B.weight"):
    state = {key: tensor.clone() for key, tensor in peft(pairs).items()}
    next(tensor for key, tensor in state.items() if key.endswith(name))[0, 0] = value
    return state


def tensors(*names):
    return lambda pairs: {name: torch.zeros(2, 2) for name in names}


def halves(stem, inside=2, outside=2, names=("lora_down", "lora_up"), rank=4):
    """One layer's halves, of zeros."""
    down, up = (f"{stem}.{name}.weight" for name in names)
    return lambda pairs: {down: torch.zeros(rank, inside), up: torch.zeros(outside, rank)}


def beside(key, value, write=peft):
    """A good LoRA and one tensor more."""
    return lambda pairs: write(pairs) | {key: value}


PEFT = ("lora_A", "lora_B")
CROSS_Q_MAGNITUDE = f"unet.{CROSS_Q}.lora_magnitude_vector"
REFUSED = {  # what each holds, and what is said of it
    "LoHa": (tensors("lora_unet_x.hada_w1_a", "lora_unet_x.hada_w1_b", "lora_unet_x.alpha"), "a LoHa, which is not"),
    "LoKr": (tensors("lora_unet_x.lokr_w1", "lora_unet_x.lokr_w2"), "a LoKr, which is not"),
    "OFT": (tensors("lora_unet_x.oft_blocks"), "a OFT, which is not"),
    "(IA)3": (tensors("lora_unet_x.weight", "lora_unet_x.on_input"), r"a \(IA\)3, which is not"),
    "Tucker": (beside("lora_unet_x.lora_mid.weight", torch.zeros(4, 4, 3, 3), kohya), "a Tucker-decomposed LoCon"),
    "whole weights": (tensors("lora_unet_x.diff", "lora_unet_x.diff_b"), "a difference of whole weights, which is not"),
    "Control-LoRA": (tensors("lora_controlnet", "input_blocks.0.0.up"), "a Control-LoRA, which is not"),
    "SDXL, second text encoder": (halves("lora_te2_text_model_encoder_layers_0_mlp_fc1"), "made for SDXL"),
    "SDXL, its blocks": (
        halves("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", 2048, 640), "made for SDXL"),
    "SDXL, diffusers": (halves(f"unet.{CROSS_K}", 2048, 64, PEFT), "made for SDXL"),
    "Stable Diffusion 2": (halves(f"unet.{CROSS_K}", 1024, 64, PEFT), "made for Stable Diffusion 2"),
    "Flux": (halves("transformer.single_transformer_blocks.0.attn.to_q", names=PEFT), "SD3 or Flux"),
    "Flux, kohya": (halves("lora_unet_double_blocks_0_img_attn_proj"), "SD3 or Flux"),
    "SD3, kohya": (halves("lora_unet_joint_blocks_0_x_block_attn_qkv"), "SD3 or Flux"),
    "several adapters": (
        lambda pairs: peft(pairs, adapter=".one") | peft(pairs, adapter=".two"), r"several adapters \(one, two\)"),
    "embeddings only": (tensors("bundle_emb.word.string_to_param.*"), "holds no LoRA layers"),
    "an embedding": (tensors("emb_params"), "holds no LoRA layers"),
    "biases": (beside(f"unet.{CROSS_Q}.lora_B.bias", torch.zeros(64)), "1 unknown key"),
    "a magnitude alone": (beside("unet.mid_block.x.lora_magnitude_vector", torch.zeros(8)), "1 unknown key"),
    "no number": (lambda pairs: poisoned(pairs, float("nan")), r"lora_B\.weight holds values that are not finite"),
    "infinite": (lambda pairs: poisoned(pairs, float("-inf"), "lora_A.weight"), r"lora_A\.weight holds values that "),
    "no number as alpha": (
        lambda pairs: kohya(pairs, lambda number, rank: float("nan")), "alpha holds values that are not finite"),
    "no number as magnitude": (
        beside(CROSS_Q_MAGNITUDE, torch.full((64,), float("nan"))), "magnitude_vector holds values that are not"),
    "magnitudes of another layer": (beside(CROSS_Q_MAGNITUDE, torch.ones(48)), "48 magnitudes there and 64"),
    "empty halves": (halves(f"unet.{CROSS_Q}", 64, 64, PEFT, rank=0), "2 unknown keys"),
    "one half": (tensors(f"unet.{CROSS_Q}.lora_A.weight"), "1 unknown key"),
    "kohya, one half": (tensors("lora_unet_mid_block_x.lora_down.weight"), "of no format known here"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_other_kinds_are_refused_in_one_line(model, reading, tmp_path, name):
    write, says = REFUSED[name]
    file = written(Layout(name, write), write(low_rank(model, ATTENTION)), tmp_path)
    plain = reading()
    with pytest.raises(BadInput, match=says) as raised, adapted(model.unet, model.text_encoder, [(file, 1.0)]):
        pytest.fail("it was taken")
    assert str(raised.value).startswith(f"{file}: ")
    assert "\n" not in str(raised.value)
    assert torch.equal(reading(), plain)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (None, "must lie beside the weights, as it holds their alpha"),
        ("{", "not valid JSON"),
        ("[" * 100000, "not valid JSON"),
        ([], "not the settings of a LoRA"),
        ({"peft_type": 3}, "not the settings of a LoRA"),
        ({"peft_type": "LOHA"}, "an adapter of the kind LOHA"),
        ({"init_lora_weights": "pissa_niter_16"}, "begun by pissa_niter_16, so it needs other base weights"),
        ({"layer_replication": [[0, 4]]}, "the setting layer_replication is not supported"),
        ({"lora_bias": True}, "the setting lora_bias is not supported"),
        ({"use_dora": True}, "a DoRA that lacks the magnitude of"),
        ({"lora_alpha": "much"}, "no number as alpha"),
        ({"lora_alpha": float("nan")}, "no number as alpha"),
        ({"lora_alpha": 4, "alpha_pattern": {"(": 3}}, "no number as alpha"),
        ({"lora_alpha": 4, "alpha_pattern": [3]}, "no number as alpha"),
    ],
)
def test_peft_settings_that_cannot_be_followed_are_one_line(model, tmp_path, settings, says):
    folder = written(Layout("", wrapped, config={}), wrapped(low_rank(model, ATTENTION)), tmp_path)
    if settings is None:
        (tmp_path / "adapter_config.json").unlink()
    else:
        text = settings if isinstance(settings, str) else json.dumps(settings)
        (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(BadInput, match=says) as raised, adapted(model.unet, None, [(folder, 1.0)]):
        pytest.fail("it was taken")
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_settings_of_an_ordinary_peft_model_are_taken(tmp_path):
    """Whatever peft writes for a plain LoRA today is followed or changes nothing."""
    from peft import LoraConfig

    LoraConfig(r=4, lora_alpha=2, target_modules=["to_q"], init_lora_weights="gaussian").save_pretrained(tmp_path)
    config = read_config(tmp_path / "adapter_config.json")
    assert (config["lora_alpha"], config["use_dora"]) == (2, False)


def test_every_file_that_changes_a_lora_is_listed_and_followed(model, reading, tmp_path):
    layout = Layout("", folders, config={"r": 4, "lora_alpha": 4})
    file = written(layout, folders(low_rank(model, (*ATTENTION, *TEXT))), tmp_path)
    assert {role: path.relative_to(tmp_path).as_posix() for role, path in lora_files(file).items()} == {
        "weights of unet": "unet/adapter_model.safetensors",
        "settings of unet": "unet/adapter_config.json",
        "weights of text_encoder": "text_encoder/adapter_model.safetensors",
        "settings of text_encoder": "text_encoder/adapter_config.json",
    }
    recorded = []
    for alpha in (4, 16, 4):
        (tmp_path / "unet" / "adapter_config.json").write_text(json.dumps({"lora_alpha": alpha, "r": 4}))
        with adapted(model.unet, model.text_encoder, [(file, 1.0)]):
            recorded.append(reading())
    assert torch.equal(recorded[0], recorded[2])
    assert not torch.equal(recorded[0], recorded[1])


def test_layers_of_another_part_in_a_parts_folder_are_refused(model, tmp_path):
    written(Layout("", wrapped, config={}), {"unet": wrapped(low_rank(model, TEXT))}, tmp_path)
    with pytest.raises(BadInput, match="holds layers of the text_encoder, not of the unet"):
        adapted(model.unet, model.text_encoder, [(str(tmp_path), 1.0)]).__enter__()


def test_weights_too_large_for_half_precision_are_refused(tmp_path, model):
    half = shiftless.load("twin:sd15", device="cpu", dtype="fp16")
    pairs = {CROSS_Q: tuple(half * 1e5 for half in low_rank(model, (CROSS_Q,))[CROSS_Q])}
    file = written(Layout("", peft), peft(pairs), tmp_path)
    with pytest.raises(BadInput, match=r"too large for torch\.float16; use dtype='fp32'"):
        adapted(half.unet, half.text_encoder, [(file, 1.0)]).__enter__()
