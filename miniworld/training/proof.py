"""Evaluation of a trained model: reconstruction, samples, the effect of captions and edges, linear probes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, StableDiffusionPipeline
from torch import Tensor

from miniworld.datasets import WORLDS
from miniworld.training.attention_share import attention_share
from miniworld.training.caption_proof import caption_accuracy
from miniworld.training.captioner import NAME as CAPTIONER
from miniworld.training.control import NAME
from miniworld.training.encoded_pictures import encode, tokenize
from miniworld.training.pictures import unseen
from miniworld.training.probe import probe_accuracy
from miniworld.training.vae import measure_psnr, to_tensor
from shiftless.conditions.caption import load_captioner
from shiftless.conditions.control_maps import canny
from shiftless.errors import BadInput
from shiftless.metrics.bootstrap import difference
from shiftless.progress import reporting

TIMESTEPS = (100, 200, 300, 400, 500, 600, 700)
CONTROL_TIMESTEPS = (50, 100, 300, 500)
PROBE_TIMESTEP = 100
PROBED, SAMPLED = 100_000, 200_000  # where, in the seeds of "prove", these pictures begin


def prove(
    model: str | Path,
    out: str | Path,
    *,
    pictures: int = 256,
    samples: int = 24,
    probes: tuple[int, int] = (1200, 600),
    steps: int = 30,
    guidance: float = 3.0,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure a trained pipeline on pictures it has never seen, and write `proof.json` and `samples.png` to `out`.

    The numbers: the autoencoder's PSNR in dB and the noise-prediction error with the fine, the class and the empty
    caption, with paired tests over pictures, for each world (half as many pictures of bedrooms and of streets); how
    much of the attention maps of "horse" and "person" lies on them; for creatures the noise-prediction error with and
    without the Canny ControlNet, when the folder has one, the share of captions and facts that its captioner gets
    right, when it has one, and the accuracy of linear probes for kind and facing. Raises `BadInput` when the folder is
    no pipeline.
    """
    out = Path(out)
    if not (Path(model) / "model_index.json").exists():
        raise BadInput(f"{model}: no model_index.json here; give the folder of a trained pipeline")
    pipe = StableDiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    out.mkdir(parents=True, exist_ok=True)
    controlled, captioned = ((Path(model) / name).exists() for name in (NAME, CAPTIONER))
    probed = bool(probes[0] and probes[1])
    parts = 4 + sum((controlled, captioned, probed, bool(samples)))
    with reporting(progress, f"proving {Path(model).name} on unseen pictures", parts, "part") as done:
        report: dict[str, Any] = {"psnr_db": round(measure_psnr(pipe.vae, pictures), 2), "pictures": pictures}
        done(1)
        report["captions"] = caption_effect(pipe, pictures)
        done(1)
        others = [world for world in WORLDS if world != "creatures"]
        report["worlds"] = {world: prove_world(pipe, world, max(2, pictures // 2)) for world in others}
        done(1)
        share = attention_share(pipe.vae, pipe.tokenizer, max(2, pictures // 8))
        report["attention"] = share(pipe.unet, pipe.text_encoder, pipe.scheduler.alphas_cumprod)
        done(1)
        if controlled:
            controlnet = ControlNetModel.from_pretrained(Path(model) / NAME, torch_dtype=torch.float32).eval()
            report["control"] = control_effect(pipe, controlnet, pictures)
            done(1)
        if captioned:
            report["captioner"] = caption_accuracy(load_captioner(Path(model) / CAPTIONER), pictures)
            done(1)
        if probed:
            report["probes"] = probe(pipe, *probes)
            done(1)
        (out / "proof.json").write_text(json.dumps(report, indent=2) + "\n")
        if samples:
            sample_sheet(pipe, samples, steps, guidance).save(out / "samples.png")
            done(1)
    return report


def prove_world(pipe: Any, world: str, n: int) -> dict[str, Any]:
    """Measure the autoencoder's PSNR and what captions change on `n` unseen pictures of another world."""
    psnr = round(measure_psnr(pipe.vae, n, world), 2)
    return {"psnr_db": psnr, "pictures": n, "captions": caption_effect(pipe, n, world=world)}


@torch.no_grad()
def caption_effect(pipe: Any, n: int, *, seed: int = 0, world: str = "creatures") -> dict[str, Any]:
    """Compare the noise-prediction error under three captions, on the same pictures, noise and timesteps.

    For each picture the squared error is averaged over `TIMESTEPS`; two captions are compared by the paired t-test
    (its p-value by the normal law, fit for `n` of a hundred and more) and by a bootstrap over pictures.
    """
    latents, about, _ = _unseen_latents(pipe.vae, n, 0, world)
    texts = {
        "fine": [one["captions"][2] for one in about],
        "class": [one["captions"][1] for one in about],
        "empty": [""] * n,
    }
    errors = {
        name: noise_errors(pipe, latents, prompt_embeds(pipe, captions), TIMESTEPS, seed)
        for name, captions in texts.items()
    }
    tests = {
        f"{a} < {b}": paired_test(errors[a].mean(1), errors[b].mean(1))
        for a, b in (("fine", "class"), ("class", "empty"), ("fine", "empty"))
    }
    return {"noise_error": _means(errors, TIMESTEPS), "tests": tests}


@torch.no_grad()
def control_effect(pipe: Any, controlnet: ControlNetModel, n: int, *, seed: int = 0) -> dict[str, Any]:
    """Compare the noise-prediction error with a picture's own edges, with another picture's, and without a ControlNet.

    The prompt is empty; pictures, noise and timesteps are the same. Own edges must help, and another picture's must
    help less: otherwise the ControlNet does not follow edges.
    """
    latents, _, images = _unseen_latents(pipe.vae, n, 0)
    edges = canny(to_tensor(images))
    prompt = prompt_embeds(pipe, [""]).expand(n, -1, -1)
    errors = {
        name: noise_errors(pipe, latents, prompt, CONTROL_TIMESTEPS, seed, controlnet, guides)
        for name, guides in (("own", edges), ("other", edges.roll(1, 0)), ("none", None))
    }
    tests = {
        f"{a} < {b}, t = {t}": paired_test(errors[a][:, column], errors[b][:, column])
        for a, b in (("own", "none"), ("own", "other"))
        for column, t in enumerate(CONTROL_TIMESTEPS)
    }
    return {"noise_error": _means(errors, CONTROL_TIMESTEPS), "tests": tests}


@torch.no_grad()
def noise_errors(
    pipe: Any,
    latents: Tensor,
    prompt: Tensor,
    timesteps: tuple[int, ...],
    seed: int = 0,
    controlnet: Any = None,
    edges: Tensor | None = None,
    *,
    batch: int = 32,
) -> np.ndarray:
    """Measure the mean squared error of the predicted noise, N pictures x T timesteps, guided by edges if given."""
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
    errors = np.zeros((len(latents), len(timesteps)))
    for column, t in enumerate(timesteps):
        for i in range(0, len(latents), batch):
            rows = slice(i, i + batch)
            noisy = pipe.scheduler.add_noise(latents[rows], noise[rows], torch.tensor([t]))
            guides: dict[str, Any] = {}
            if edges is not None:
                down, mid = controlnet(noisy, t, prompt[rows], edges[rows], return_dict=False)
                guides = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
            predicted = pipe.unet(noisy, t, prompt[rows], **guides).sample
            errors[rows, column] = (predicted - noise[rows]).square().mean((1, 2, 3)).numpy()
    return errors


def _means(errors: dict[str, np.ndarray], timesteps: tuple[int, ...]) -> dict[str, dict[str, float]]:
    return {
        name: {"mean": float(e.mean()), **{f"t{t}": float(v) for t, v in zip(timesteps, e.mean(0))}}
        for name, e in errors.items()
    }


def paired_test(smaller: np.ndarray, larger: np.ndarray) -> dict[str, float]:
    """Test that one set of errors is smaller than another on the same pictures.

    >>> test = paired_test(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 3.1, 4.0, 4.9]))
    >>> round(test["difference"], 2), test["p"] < 1e-6
    (-1.0, True)
    """
    gap = smaller - larger
    t = float(gap.mean() / (gap.std(ddof=1) / math.sqrt(len(gap)) + 1e-12))
    change = difference(smaller, larger)
    p = 0.5 * math.erfc(-t / math.sqrt(2))  # one-sided: small when the difference is well below 0
    return {"difference": change.value, "low": change.low, "high": change.high, "t": t, "p": p}


def prompt_embeds(pipe: Any, texts: list[str]) -> Tensor:
    """Encode captions: B T C."""
    tokens = torch.from_numpy(tokenize(pipe.tokenizer, texts)).long()
    return torch.cat([pipe.text_encoder(tokens[i : i + 64])[0] for i in range(0, len(tokens), 64)])


@torch.no_grad()
def probe(pipe: Any, train: int, test: int) -> dict[str, Any]:
    """Fit linear probes for kind and facing on features of up block 1 at t = 100, prompt empty, pooled to 4 x 4.

    The control is the same probe on the clean latents, pooled alike: the accuracy without the network.
    """
    kept: list[Tensor] = []
    handle = pipe.unet.up_blocks[1].register_forward_hook(lambda _m, _i, output: kept.append(output))
    latents, about, _ = _unseen_latents(pipe.vae, train + test, PROBED)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    empty = prompt_embeds(pipe, [""])
    features = []
    try:
        for i in range(0, len(latents), 32):
            noisy = pipe.scheduler.add_noise(latents[i : i + 32], noise[i : i + 32], torch.tensor([PROBE_TIMESTEP]))
            pipe.unet(noisy, PROBE_TIMESTEP, empty.expand(len(noisy), -1, -1))
            features.append(torch.nn.functional.adaptive_avg_pool2d(kept.pop(), 4).flatten(1))
    finally:
        handle.remove()
    inputs = {
        "features": torch.cat(features),
        "latents": torch.nn.functional.adaptive_avg_pool2d(latents, 4).flatten(1),
    }
    result: dict[str, Any] = {"train": train, "test": test}
    for what in ("kind", "facing"):
        names = sorted({one[what] for one in about})
        labels = torch.tensor([names.index(one[what]) for one in about])
        chance = float(torch.bincount(labels[train:]).max() / test)
        result[what] = {"classes": len(names), "chance": round(chance, 4)}
        for name, x in inputs.items():
            result[what][name] = round(probe_accuracy(x[:train], labels[:train], x[train:], labels[train:]), 4)
    return result


def sample_sheet(pipe: Any, n: int, steps: int, guidance: float) -> Any:
    """Draw samples for the fine captions of unseen pictures, as many of each world, as a sheet with the captions."""
    from shiftless.view.sheet import contact_sheet

    shares = [len(range(i, n, len(WORLDS))) for i in range(len(WORLDS))]
    abouts = [one for world, k in zip(WORLDS, shares) for _, one in unseen(k, first=SAMPLED, world=world)]
    captions = [about["captions"][2] for about in abouts]
    images: list[np.ndarray] = []
    for i in range(0, n, 8):
        generator = [torch.Generator().manual_seed(j) for j in range(i, min(i + 8, n))]
        samples = pipe(
            captions[i : i + 8],
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generator,
            output_type="np",
        ).images
        images.extend((samples * 255).round().astype(np.uint8))
    rows = [list(zip(images[i : i + 8], captions[i : i + 8])) for i in range(0, n, 8)]
    note = f"{steps} steps, guidance {guidance:g}"
    return contact_sheet(rows, title="Samples of the embedded model for fine captions", note=note, height=192)


@torch.no_grad()
def _unseen_latents(
    vae: AutoencoderKL, n: int, first: int, world: str = "creatures"
) -> tuple[Tensor, list[dict[str, Any]], np.ndarray]:
    pictures = list(unseen(n, first=first, world=world))
    images = np.stack([image for image, _ in pictures])
    latents = torch.cat([encode(vae, images[i : i + 32]) for i in range(0, n, 32)])
    return latents, [about for _, about in pictures], images
