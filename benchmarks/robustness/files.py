"""Groups that read a user's files: pictures, recipes, taps, annotations, features, heads and captions."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.robustness.mutation import json_text, mutated_bytes, mutated_json, mutated_safetensors
from benchmarks.robustness.outcome import check

Case = tuple[str, Callable[[], object]]


def picture(side: int = 48, seed: int = 0) -> np.ndarray:
    """A small picture H W 3 without symmetry: coloured noise over a slope."""
    noise = np.random.default_rng(seed).integers(0, 120, (side, side * 3 // 2, 3))
    return (noise + np.add.outer(np.arange(side), np.arange(side * 3 // 2))[..., None]).clip(0, 255).astype(np.uint8)


def pictures(rng: random.Random, folder: Path) -> Iterator[Case]:
    """Broken copies of every format and mode that is read, and headers that claim too much."""
    from shiftless.image import open_photo

    whole = []
    image = Image.fromarray(picture())
    frames = [Image.fromarray(picture(seed=i)) for i in (1, 2)]
    for kind, mode, options in (
        ("PNG", "RGB", {}), ("PNG", "P", {}), ("PNG", "I;16", {}), ("PNG", "LA", {}),
        ("JPEG", "RGB", {"exif": _exif()}),
        ("JPEG", "CMYK", {}), ("JPEG", "L", {"progressive": True}),
        ("GIF", "P", {"save_all": True, "append_images": frames}),
        ("WEBP", "RGBA", {"lossless": True}), ("WEBP", "RGB", {}), ("BMP", "RGB", {}), ("TIFF", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}), ("TIFF", "L", {"compression": "group4"}), ("TIFF", "F", {}),
        ("MPO", "RGB", {"save_all": True, "append_images": frames}), ("EPS", "RGB", {}), ("PPM", "RGB", {}),
    ):  # fmt: skip
        made = Image.fromarray(picture()[..., 0].astype(np.uint16) * 200) if mode == "I;16" else image.convert(mode)
        made = made.convert("1") if options.get("compression") == "group4" else made
        content = io.BytesIO()
        made.save(content, kind, **options)
        whole.append((f"{kind} {mode}", content.getvalue()))
    while True:
        name, data = rng.choice(whole)
        broken = _claiming(rng) if rng.random() < 0.1 else mutated_bytes(data, rng)
        path = folder / f"a{rng.choice(('.png', '.jpg', '.tif', ''))}"

        def act(path: Path = path, broken: bytes = broken) -> None:
            path.write_bytes(broken)
            photo = open_photo(path)
            check(photo.array.dtype == np.uint8 and photo.array.ndim == 3, "no H W 3 picture")
            check(min(photo.hw) >= 8 and photo.array.nbytes < 2**30, f"a picture of {photo.hw}")

        yield name, act


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _claiming(rng: random.Random) -> bytes:
    """A PNG or TIFF whose header claims any size."""
    w, h = (rng.choice((0, 1, 7, 8, 60, 4096, 65535, 65536, 2**20, 2**31 - 1, 2**32 - 1)) for _ in range(2))
    if rng.random() < 0.5:
        head = struct.pack(">2I5B", w, h, rng.choice((1, 8, 16)), rng.choice((0, 2, 3, 6)), 0, 0, 0)
        chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(999))), (b"IEND", b""))
        parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
        return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
    data = rng.randbytes(64)
    tags = [(256, w), (257, h), (258, rng.choice((1, 8, 16, 32))), (259, rng.choice((1, 5, 8, 7))), (262, 1), (277, 1)]
    sizes = [rng.choice((16, 2**14, 2**20, 2**31 - 1)) for _ in range(2)]
    tags += (
        [(322, sizes[0]), (323, sizes[1]), (324, 8), (325, 64)]
        if rng.random() < 0.5
        else [(273, 8), (278, h), (279, 64)]
    )
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 72) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def recipes(rng: random.Random, folder: Path) -> Iterator[Case]:
    """Recipe files with hostile values, fields and bytes; one that is taken is written and read back the same."""
    from shiftless.recipe import HELP, read_recipe_file, recipes_to_toml

    names = [*HELP, "reading", "model", "colour", "", "a.b"]
    values = [
        '"up1"', '["up1", "up2"]', "50", "0", "-1", "999", "1e400", "nan", "inf", "0.5", "true", "[]", "[[]]", "{}",
        '""',
        '"' + "x" * 5000 + '"', "9" * 400, "9" * 6000, "0x" + "f" * 400, "0x" + "f" * 6000, "1979-05-27",
        "[" * 3000 + "]" * 3000,
        '"\\u0000"', '"é{caption}"', '"{"', "'''a\nb'''", "{a = {b = 1}}", "[1, \"a\"]", "[nan]", "[1e308, 1e308]",
    ]  # fmt: skip
    while True:
        lines = [f"{rng.choice(names)} = {rng.choice(values)}" for _ in range(rng.randrange(1, 4))]
        if rng.random() < 0.3:
            lines.insert(rng.randrange(len(lines)), "[[reading]]")
        data = "\n".join(lines).encode()
        if rng.random() < 0.2:
            data = mutated_bytes(data, rng)
        path = folder / "recipe.toml"

        def act(path: Path = path, data: bytes = data) -> None:
            path.write_bytes(data)
            model, result = read_recipe_file(path)
            path.write_text(recipes_to_toml(result, model=model), encoding="utf-8")
            check(read_recipe_file(path) == (model, result), "the recipe is not read back the same")

        yield repr(data[:60]), act


def taps(rng: random.Random, folder: Path) -> Iterator[Case]:
    """Names of taps: globs, brackets, aliases, long and empty ones."""
    from shiftless.backbones.registry import taps as taps_of
    from shiftless.recipe import Recipe
    from shiftless.taps.names import select

    known = taps_of("mini")
    pieces = [
        "up",
        "1",
        "*",
        "?",
        "[",
        "]",
        "[!",
        "**",
        ".",
        "..",
        "block0",
        "cross",
        "map",
        "é",
        "\0",
        " ",
        "-",
        "\n",
        "(",
        "\\",
    ]
    while True:
        names = tuple("".join(rng.choices(pieces, k=rng.randrange(0, 8))) for _ in range(rng.randrange(0, 3)))
        if rng.random() < 0.1:
            names = (rng.choice(("x" * 10_000, "*" * 40 + "a", "[" * 500)),)
        elif rng.random() < 0.3:
            names = (rng.choice((*(tap.name for tap in known), "*", "up*", "up?", "*cross*")),)

        def act(names: tuple[str, ...] = names) -> None:
            result = select(Recipe(taps=names).taps, known, "mini")
            check(set(result) <= set(known), "a tap that the model does not have")

        yield repr(names)[:80], act


def annotations(rng: random.Random, folder: Path) -> Iterator[Case]:
    """Annotations of one's own pairs, of SPair-71k, and tables that are read again."""
    from shiftless.bench.table import read_table
    from shiftless.data.pairs import read_pairs
    from shiftless.data.spair import read_spair

    for name in ("a.png", "b.png"):
        Image.fromarray(picture()).save(folder / name)
    (folder / "JPEGImages" / "cat").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(picture()).save(folder / "JPEGImages" / "cat" / name)
    points = [[10, 20], None, [40.5, 7]]
    records = {
        n: {"file": f"{n}.png", "width": 72, "height": 48, "keypoints": points, "cls": "cat"} for n in ("a", "b")
    }
    own = {"images": records, "pairs": [["a", "b"]], "pixel_centres": 0}
    spair: dict[str, Any] = {"category": "cat", "trg_bndbox": [1, 1, 40, 40]}
    for side, name in (("src", "a.jpg"), ("trg", "b.jpg")):
        spair |= {f"{side}_imname": name, f"{side}_imsize": [72, 48, 3], f"{side}_kps": [[10, 20], [30, 7]]}
    layout, note = folder / "Layout" / "large" / "test.txt", folder / "PairAnnotation" / "test" / "1-a-b:cat.json"
    table = {
        "bench": "b",
        "model": "m",
        "machine": "x",
        "rows": [{"method": "a", "metric": "p", "value": 1, "ci95": [0, 2]}],
    }
    for path in (layout, note):
        path.parent.mkdir(parents=True)
    while True:
        kind = rng.randrange(3)
        path = (folder / "annotations.json", note, folder / "table.json")[kind]
        data = json_text(mutated_json((own, spair, table)[kind], rng), rng)
        lines = mutated_bytes(b"1-a-b:cat\n", rng) if kind == 1 and rng.random() < 0.2 else b"1-a-b:cat\n"

        def act(kind: int = kind, path: Path = path, data: bytes = data, lines: bytes = lines) -> None:
            path.write_bytes(data)
            if kind == 2:
                read_table(path).to_dict()
                return
            layout.write_bytes(lines)
            for pair in read_pairs(folder) if kind == 0 else read_spair(folder, "test"):
                check(len(pair.source_points) == len(pair.target_points) > 0, "points that do not correspond")
                check(np.isfinite(pair.source_points).all() and np.isfinite(pair.target_box).all(), "points not finite")

        yield f"{path.name} {data[:60]!r}", act


def features(rng: random.Random, folder: Path) -> Iterator[Case]:
    """Files of features; one that is opened can be described, joined and read at points."""
    from shiftless.features import FeatureMaps
    from shiftless.image import Frame
    from shiftless.recipe import Recipe
    from shiftless.taps.names import Tap

    frame = Frame((48, 72), (64, 96))
    maps = {"up0": torch.rand(1, 4, 4, 6), "up1": torch.rand(1, 3, 8, 12)}
    about = {"up0": Tap("up0", 4, 16, "a"), "up1": Tap("up1", 3, 8, "b", members=("c",))}
    whole = FeatureMaps(maps, about, frame, Recipe(taps=("up0", "up1")), "a.png", ("a", "cat "), "a cat")
    data = whole.save(folder / "whole.safetensors").read_bytes()
    while True:
        broken = mutated_safetensors(data, rng)

        def act(broken: bytes = broken) -> None:
            (folder / "a.safetensors").write_bytes(broken)
            result = FeatureMaps.open(folder / "a.safetensors")
            check(result.describe() and repr(result), "it cannot be described")
            result.dense()
            result.at([(10, 10)])

        yield repr(broken[8:90]), act


def heads(rng: random.Random, folder: Path) -> Iterator[Case]:
    """Files of trained heads."""
    from shiftless.tasks.head import CorrespondenceHead

    source = next((Path(__file__).parents[2] / "shiftless/mini/weights/heads").glob("*.safetensors"))
    data = source.read_bytes()
    (folder / "head").mkdir()
    while True:
        broken = mutated_safetensors(data, rng)

        def act(broken: bytes = broken) -> None:
            (folder / "head" / "model.safetensors").write_bytes(broken)
            head = CorrespondenceHead.from_pretrained(folder / "head")
            check(head.recipes, "a head without recipes")

        yield repr(broken[8:90]), act


def captions(rng: random.Random, folder: Path) -> Iterator[Case]:
    """Caption files that are not UTF-8, empty or long, and prompts with fields of every kind."""
    from shiftless.cli.flags import filler
    from shiftless.image import open_photo
    from shiftless.recipe import Recipe

    photos, captions = folder / "photos", folder / "captions"
    for place in (photos / "sub", captions / "sub"):
        place.mkdir(parents=True)
    Image.fromarray(picture()).save(photos / "sub" / "a.png")
    photo = open_photo(photos / "sub" / "a.png")
    path = captions / "sub" / "a.txt"
    prompts = [
        "{caption}",
        "a {caption} b",
        "{",
        "}",
        "{{caption}}",
        "{caption!r}",
        "{caption.x}",
        "{0}",
        "{}",
        "{caption:9999999}",
    ]
    while True:
        data = rng.choice(
            (b"a cat", b"", b"\xff\xfe", "é".encode() * 9999, rng.randbytes(40), b"\0", b"{caption}", b"a\nb", None)
        )
        prompt = rng.choice(prompts)

        def act(data: bytes | None = data, prompt: str = prompt) -> None:
            from shiftless.conditions.template import fill

            path.unlink(missing_ok=True)
            if data is not None:
                path.write_bytes(data)
            values = filler([Recipe(prompt=prompt)], None, captions, [photos])(photo)
            check(values == {"caption": (data or b"").decode().strip()}, "not the caption that was written")
            filled = fill(prompt, values, "a.png")
            check(prompt != "{caption}" or filled == values["caption"], "the prompt does not hold the caption")

        yield f"{prompt} {'no file' if data is None else data[:20]!r}", act
