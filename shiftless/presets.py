"""Published recipes, as data: the settings that papers report, ready to use and to vary."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from shiftless.errors import BadInput
from shiftless.recipe import Recipe, read_recipe_file, recipes_to_toml

_GDF = {"fit": "squash", "latent": "sample", "scheduler": "pndm-reference"}
_LEGACY = ("up0", "up1", "up2", "up3.attn2")
_LEVELS = ("up0", "up1", "up2")
_DECODER = tuple(f"up{b}.res{r}" for b in range(4) for r in range(3))
_PRACTICAL = ("up1.attn1.block0.cross.q", "up1.res2", "up2.attn1.block0.cross.q", "up3.attn0.block0.self.k")
_MAPS = ("up.cross.map.s32", "up.cross.map.s16")
_SPAIR = (
    "a photo of aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, dog, horse, motorbike, person, "
    "potted plant, sheep, train, tv monitor, high quality, best quality, highly realistic, masterpiece, high resolution"
)
_HORSE = "a horse, high quality, best quality, highly realistic, masterpiece"
_BEDROOM = "a photo of a tidy and well-designed bedroom"
_CITYSCAPES = (
    "An urban street scene with multiple lanes, various buildings, traffic lights, cars in the lanes, and "
    "pedestrians, highly realistic."
)
_ADE20K = (
    "a highly realistic photo of the real world. It can be an indoor scene, or an outdoor scene, or a photo of "
    "nature. high quality."
)


@dataclass(frozen=True)
class Preset:
    """A published way of reading: its recipes, the model it was published with, and where.

    model    its name, or "" for a file that names none
    recipes  one, or the K readings of a bucket; {category} in a prompt is for the caller to fill
    """

    name: str
    model: str
    recipes: tuple[Recipe, ...]
    source: str

    def to_toml(self) -> str:
        """Write the preset as a file that `--recipe` takes, its model included.

        >>> print(preset("dift-geometric").to_toml())
        # dift-geometric: DIFT, NeurIPS 2023, section 4: geometric matching
        <BLANKLINE>
        model = "sd21"
        <BLANKLINE>
        timestep = 0
        taps = ["up2"]
        ensemble = 8
        fit = "squash"
        latent = "sample"
        label = "dift-geometric"
        """
        return recipes_to_toml(self.recipes, f"{self.name}: {self.source}", self.model)


def _one(name: str, model: str, source: str, **fields: object) -> Preset:
    return Preset(name, model, (Recipe.from_dict({"label": name, **fields}),), source)


def _seeds(name: str, source: str, prompt: str, seeds: int, **fields: object) -> Preset:
    readings = (Recipe.from_dict({"label": f"{name} {s}", "prompt": prompt, "seed": s, **fields}) for s in range(seeds))
    return Preset(name, "sd15", tuple(readings), source)


_GATE = "GATE, NeurIPS 2024"
_OWN = "its LoRAs are trained by you: shiftless lora train"
_CANNY = {"control": ("canny",), "start": 60}
_SCARCE = "Baranchuk et al., ICLR 2022"
_DDPM = ("up1", "up2.attn0", "up2.attn1", "up2", "up4.res0")
_SWAV = tuple(f"stage{s}.block{b}.in" for s, depth in enumerate((3, 4, 6, 3)) for b in range(0, depth, 2))
_HYPER = "Diffusion hyperfeatures, NeurIPS 2023"


_DITF = {"modulate": True, "discard": (154, 1446), "latent": "sample"}
_DITF_SOURCE = "DiTF, NeurIPS 2025"
_GOCA = "GoCA, CVPR 2026: cross-attention maps and, last, the reference that weighs them"
_CAPTIONED = {"prompt": "{caption}", "fit": "squash", "latent": "sample"}


def _bucket(name: str, source: str, *readings: Mapping[str, object]) -> Preset:
    """A bucket of readings at GATE's settings, labelled by what steers them."""
    return Preset(name, "sd15", tuple(Recipe.from_dict({**_GDF, "taps": _LEGACY, **one}) for one in readings), source)


def _lora(task: str, which: str) -> dict[str, object]:
    return {"lora": (f"gate-{task}-{which}.safetensors",)}


_TABLE = (
    _one("dift-spair", "sd21", "DIFT, NeurIPS 2023, section 4: 768 px, mean of 8 noise draws", timestep=261,
         taps=("up1",), prompt="a photo of a {category}", ensemble=8, fit="squash", latent="sample"),
    _one("dift-geometric", "sd21", "DIFT, NeurIPS 2023, section 4: geometric matching", timestep=0,
         taps=("up2",), ensemble=8, fit="squash", latent="sample"),
    _one("cleandift-spair", "cleandift-sd21", "CleanDIFT, CVPR 2025: 768 px, the clean image, as its notebook matches",
         timestep=261, taps=("up1",), prompt="A photo of a {category}", fit="squash"),
    _one("gdf-legacy", "sd15", "Generic diffusion features, NeurIPS 2024: config_15_legacy", taps=_LEGACY, **_GDF),
    _one("gdf-sdxl", "sdxl", "Generic diffusion features, NeurIPS 2024: SDXL at 1024 px", timestep=50,
         taps=("up0.attn0.block5", "up0.attn0.block7", "up1.attn0.block0.cross.q", "up1.attn0.block0"), fit="squash",
         latent="sample"),
    _one("gdf-playground", "playground-v2", "Generic diffusion features, NeurIPS 2024: Playground v2 at 1024 px",
         timestep=50, taps=("up0.attn0.block3",), fit="squash", latent="sample"),
    _one("gdf-practical", "sd15", "Generic diffusion features, NeurIPS 2024: config_15_practical", taps=_PRACTICAL,
         **_GDF),
    _one("ditf-spair", "flux-dev", f"{_DITF_SOURCE}: SPair-71k, block k=28; its prompts are captions by a language "
         "model, which gained 0.3 points", timestep=260, taps=("single9.in",), prompt="a photo of a {category}",
         ensemble=8, size=640, **_DITF),
    _one("ditf-davis", "flux-dev", f"{_DITF_SOURCE}: DAVIS, block k=24; 854x480 frames are read at 1696x960",
         timestep=90, taps=("single5.in",), size=1696, **_DITF),
    _one("goca-sd15", "sd15", _GOCA, timestep=100, taps=("*.block0.cross.map", "up2.attn1.block0.cross.q"),
         **{**_CAPTIONED, **_GDF}),
    _one("goca-sdxl", "sdxl", _GOCA, timestep=100, taps=("*.block?.cross.map", "up1.attn0.block0.cross.q"),
         **_CAPTIONED),
    _one("goca-pixart", "pixart-sigma", _GOCA, timestep=100, taps=("block*.cross.map", "block13.cross.q"),
         **_CAPTIONED),
    _one("goca-hunyuan", "hunyuan-dit", f"{_GOCA}; those of blocks 20 to 29", timestep=100,
         taps=("block2?.cross.map", "block25.cross.q"), **_CAPTIONED),
    _one("goca-flux", "flux-dev", f"{_GOCA}; those of blocks 8, 28 and 47, the reference is what block 27's attention "
         "gives back", timestep=150,
         taps=("double8.cross.map", "single9.cross.map", "single28.cross.map", "single8.self.out"), **_CAPTIONED),
    _one("gate-spair-baseline", "sd15", f"{_GATE}: the baseline row of SPair-71k", prompt="a photo", taps=_LEGACY,
         **_GDF),
    _seeds("gate-spair-prompt", f"{_GATE}: SPair-71k's fine-grained prompt, 2 seeds", _SPAIR, 2, taps=_LEGACY, **_GDF),
    _one("gate-spair-attention", "sd15", f"{_GATE}: attention features, with the prompt alone", prompt=_SPAIR,
         taps=_MAPS, **_GDF),
    _one("gate-horse21-prompt", "sd15", f"{_GATE}: Horse-21's prompt", prompt=_HORSE, taps=_LEGACY, **_GDF),
    _one("gate-bedroom28-prompt", "sd15", f"{_GATE}: Bedroom-28's prompt", prompt=_BEDROOM, taps=_LEGACY, **_GDF),
    _bucket(
        "gate-spair", f"{_GATE}: the bucket of SPair-71k, its attention reading last; {_OWN}",
        *({"label": f"prompt {seed}", "prompt": _SPAIR, "seed": seed} for seed in (0, 1)),
        *({"label": f"lora {one}", "prompt": "a photo", **_lora("spair", one)} for one in "ab"),
        *({"label": f"control {seed}", "prompt": "a photo", "seed": seed, **_CANNY} for seed in (0, 1)),
        {"label": "attention", "prompt": _SPAIR, "taps": _MAPS, "joined": True, **_CANNY, **_lora("spair", "a")},
    ),
    _bucket(
        "gate-horse21", f"{_GATE}: the bucket of Horse-21, without its DDPM features; {_OWN}",
        {"label": "prompt", "prompt": _HORSE},
        {"label": "control", "prompt": "a horse", **_CANNY},
        *({"label": f"lora {one}", "prompt": "a horse", **_lora("horse21", one)} for one in "ab"),
    ),
    _bucket(
        "gate-bedroom28", f"{_GATE}: the bucket of Bedroom-28; {_OWN}",
        {"label": "prompt", "prompt": _BEDROOM},
        {"label": "control", "prompt": "a photo", **_CANNY},
        {"label": "lora", "prompt": "a photo", **_lora("bedroom28", "a")},
    ),
    *(
        _bucket(
            f"gate-{task}", f"{_GATE}: the bucket of {title}; {_OWN}",
            {"label": "plain", "prompt": prompt, "taps": _LEVELS},
            *({"label": f"lora {one} + control", "prompt": prompt, "taps": _LEVELS, **_CANNY, **_lora(task, one)}
              for one in "ab"),
        )
        for task, title, prompt in (("ade20k", "ADE20K", _ADE20K), ("cityscapes", "Cityscapes", _CITYSCAPES))
    ),
    Preset(
        "ddpm-segmentation", "adm-lsun-horse",
        tuple(
            Recipe(timestep=t, taps=_DDPM, fit="squash", joined=t != 50, label=f"t={t}") for t in (50, 150, 250)
        ),
        f"{_SCARCE}: decoder blocks 5, 6, 7, 8 and 12 at three timesteps; convert the checkpoint first",
    ),
    _one("mae-segmentation", "mae-l", f"{_SCARCE}: the last 12 blocks of a ViT-L; published with its own, of patches "
         "of 8 pixels", timestep=0, taps=tuple(f"block{i}" for i in range(12, 24)), size=256, fit="squash"),
    _one("swav-segmentation", "swav-r50", f"{_SCARCE}: what every second block of SwAV's ResNet-50 takes", timestep=0,
         taps=_SWAV, size=256, fit="squash"),
    _one("swavw2-segmentation", "swav-r50w2", f"{_SCARCE}: the same of SwAV's ResNet-50 of twice the width", timestep=0,
         taps=_SWAV, size=256, fit="squash"),
    Preset(
        "hyperfeatures", "sd15",
        tuple(
            Recipe(timestep=t, taps=_DECODER, noise="invert", steps=t // 20 or None, fit="squash", label=f"t={t}")
            for t in (*range(0, 1000, 100), 980)
        ),
        f"{_HYPER}: every decoder layer along a DDIM inversion of 50 steps, 11 of them kept",
    ),
    _one("hyperfeatures-onestep", "sd15", f"{_HYPER}: every decoder layer at one noise level", timestep=1,
         taps=_DECODER, fit="squash"),
    _one("vpd", "sd15", "VPD, ICCV 2023: ADE20K, the mode of the posterior without its factor and without noise; it is "
         "published with a tuned denoiser: segment train --settings vpd", timestep=1, noise="none", latent="unscaled",
         taps=("up0.res1", "up1.attn1", "up2.attn1", "up3.attn2", "both.cross.map.s32", "both.cross.map.s16")),
    _one("odise", "sd15", "ODISE, CVPR 2023: four levels of the decoder at t = 0 and the empty prompt, to which a "
         "learned caption is added: segment train --settings odise --clip", timestep=0,
         taps=("up0.res1", "up1.attn1", "up2.attn1", "up3.attn1")),
    _one("gate-ade20k-plain", "sd15", f"{_GATE}: ADE20K's plain reading", prompt=_ADE20K, taps=_LEGACY, **_GDF),
    _one("gate-cityscapes-plain", "sd15", f"{_GATE}: Cityscapes' plain reading", prompt=_CITYSCAPES, taps=_LEGACY,
         **_GDF),
)  # fmt: skip
_PRESETS = {row.name: row for row in _TABLE}

_DEFAULTS = {  # the default recipe of each model; mini's was picked on validation pairs
    "mini": Recipe(timestep=100, taps=("up0",)),
    "sd15": Recipe(timestep=50, taps=("up1", "up2")),
    "sd14": Recipe(timestep=50, taps=("up1", "up2")),
    "sd21": Recipe(timestep=261, taps=("up1",)),
    "sd21-base": Recipe(timestep=261, taps=("up1",)),
    **dict.fromkeys(("sdxl", "sdxl-turbo", "playground-v2"), Recipe(timestep=50, taps=("up0.attn0.block5", "up1"))),
}
_FAMILY_DEFAULTS = {  # of Flux where DiTF reads it, of PixArt and HunyuanDiT where GoCA does; else a middle block
    "cleandift": Recipe(timestep=261, taps=("up1",)), "vit": Recipe(timestep=0, taps=("last",)),
    "resnet": Recipe(timestep=0, taps=("stage2",)), "pixart": Recipe(timestep=100, taps=("block13",)),
    "hunyuan-dit": Recipe(timestep=100, taps=("block25",)),
    "flux": Recipe(timestep=260, taps=("single9.modulated",)), "flux2": Recipe(timestep=260, taps=("single4",)),
    "sd3": Recipe(timestep=260, taps=("block12",)), "dit": Recipe(timestep=50, taps=("block13",)),
    "sana": Recipe(timestep=260, taps=("block9",)), "qwen-image": Recipe(timestep=260, taps=("block30",)),
    "flux2-dev": Recipe(timestep=260, taps=("single9",)), "z-image": Recipe(timestep=260, taps=("block15",)),
    "lumina2": Recipe(timestep=260, taps=("block13",)),
}  # fmt: skip
_TWIN_TAPS = {  # tiny twins have two or three blocks
    **dict.fromkeys(("pixart", "hunyuan-dit", "sd3", "dit", "sana", "qwen-image", "z-image", "lumina2"), "block1"),
    **dict.fromkeys(("flux", "flux2", "flux2-dev"), "single0"),
}  # fmt: skip


def default_recipe(model: str, family: str = "") -> Recipe:
    """Return the recipe that a model is read with by default.

    family  of the model, for one that has no recipe of its own; of a tiny twin, whose blocks are fewer

    >>> default_recipe("sd21").timestep, default_recipe("facebook/dino-vits16", "vit").taps
    (261, ('last',))
    """
    recipe = _DEFAULTS.get(model.partition(":")[2] or model, _FAMILY_DEFAULTS.get(family, Recipe()))
    twin = model.startswith("twin:") and family in _TWIN_TAPS
    return recipe.but(taps=(_TWIN_TAPS[family],)) if twin else recipe


def presets() -> dict[str, Preset]:
    """Return every published preset by name.

    >>> presets()["dift-spair"].recipes[0].timestep
    261
    """
    return dict(_PRESETS)


def preset(name: str) -> Preset:
    """Return one preset; raises BadInput with the nearest right names.

    >>> preset("gdf-legacy").recipes[0].taps
    ('up0', 'up1', 'up2', 'up3.attn2')
    """
    if name not in _PRESETS:
        near = difflib.get_close_matches(name, _PRESETS, n=3, cutoff=0.3) or list(_PRESETS)
        raise BadInput(f"no preset {name!r}; nearest: {', '.join(near)}; `shiftless presets` lists them all")
    return _PRESETS[name]


def preset_or_file(name: str) -> Preset:
    """Return a preset by its name, or one from a recipe file; raises BadInput if there is neither.

    >>> preset_or_file("gate-spair").model
    'sd15'
    """
    if name.endswith(".toml") or Path(name).is_file():
        model, recipes = read_recipe_file(name)
        return Preset(name, model, recipes, "")
    return preset(name)
