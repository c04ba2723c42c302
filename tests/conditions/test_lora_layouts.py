"""LoRA files as tools write them: each layout gives what a model with the weights merged by hand gives."""

from __future__ import annotations

import json

import pytest
import torch

from shiftless.conditions.lora import adapted
from shiftless.conditions.lora_file import lora_files
from tests.conditions.lora_writers import (
    ATTENTION,
    CONVOLUTIONS,
    CROSS_K,
    CROSS_Q,
    FEED,
    MID,
    MID_Q,
    OUT,
    PROJECTIONS,
    SELF_V,
    TEXT,
    TIME,
    TOLERANCE,
    Layout,
    by_diffusers,
    difference,
    flat,
    folders,
    kohya,
    layer,
    low_rank,
    merged,
    named,
    newer,
    old_text,
    parts_of,
    peft,
    processors,
    product,
    saved_alpha,
    varying,
    wrapped,
    written,
)

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


@pytest.mark.filterwarnings("ignore:The following alpha_pattern keys:RuntimeWarning")  # of diffusers' "other"
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_layout_gives_what_merging_by_hand_gives(twin, reading, tmp_path, layout):
    pairs = low_rank(twin, layout.paths, layout.rank)
    pairs = {p: tuple(half.to(layout.dtype).float() for half in halves) for p, halves in pairs.items()}
    file = written(layout, layout.write(pairs), tmp_path)
    whole = {}
    for number, (path, (down, up)) in enumerate(pairs.items()):
        weight = layer(parts_of(twin), path).weight.data
        scale = layout.scale(number, len(down)) if callable(layout.scale) else layout.scale
        whole[path] = weight + 0.7 * scale * product(down, up, weight.shape)
    plain = reading()
    with merged(twin, whole):
        truth = reading()
    assert difference(plain, truth) > 1e-3  # or nothing would be shown
    with adapted({"unet": twin.unet, "text_encoder": twin.text_encoder}, [(file, 0.7)]):
        ours = reading()
    assert difference(ours, truth) < TOLERANCE
    assert torch.equal(reading(), plain)
    if layout.theirs:
        with adapted({"unet": twin.unet, "text_encoder": twin.text_encoder}, [(file, 1.0)]):
            ours = reading()
        theirs = by_diffusers(twin, file, reading)
        assert (difference(theirs, ours) < TOLERANCE) is (layout.theirs == "same")


def test_embeddings_beside_a_lora_are_left_out_and_named(twin, reading, tmp_path):
    pairs = low_rank(twin, ATTENTION)
    plain = written(Layout("", kohya), kohya(pairs), tmp_path / "plain")
    state = kohya(pairs) | {"bundle_emb.myword.string_to_param.*": torch.zeros(2, 32)}
    file = written(Layout("", kohya), state, tmp_path)
    with adapted({"unet": twin.unet}, [(plain, 1.0)]):
        without = reading()
    message = pytest.warns(UserWarning, match=r"^\S*lora.safetensors: .* embeddings in it \(myword\) are left out$")
    with message, adapted({"unet": twin.unet}, [(file, 1.0)]):
        assert torch.equal(reading(), without)


def test_every_file_that_changes_a_lora_is_listed_and_followed(twin, reading, tmp_path):
    layout = Layout("", folders, config={"r": 4, "lora_alpha": 4})
    file = written(layout, folders(low_rank(twin, (*ATTENTION, *TEXT))), tmp_path)
    assert {role: path.relative_to(tmp_path).as_posix() for role, path in lora_files(file).items()} == {
        "weights of unet": "unet/adapter_model.safetensors",
        "settings of unet": "unet/adapter_config.json",
        "weights of text_encoder": "text_encoder/adapter_model.safetensors",
        "settings of text_encoder": "text_encoder/adapter_config.json",
    }
    recorded = []
    for alpha in (4, 16, 4):
        (tmp_path / "unet" / "adapter_config.json").write_text(json.dumps({"lora_alpha": alpha, "r": 4}))
        with adapted({"unet": twin.unet, "text_encoder": twin.text_encoder}, [(file, 1.0)]):
            recorded.append(reading())
    assert torch.equal(recorded[0], recorded[2])
    assert not torch.equal(recorded[0], recorded[1])
