"""One training run of a LoRA: its loop, its checkpoints, and the choice of the best."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from shiftless.atomic import write_atomic
from shiftless.backbones.base import Backbone, steerable
from shiftless.conditions.caption_folder import CaptionFolder
from shiftless.errors import BadInput
from shiftless.image import Photo, to_uint8
from shiftless.memory_format import memory_format
from shiftless.noise import Schedule
from shiftless.training.lora.candidate_error import HeldOut, relative
from shiftless.training.lora.examples import (
    Batches,
    Example,
    Parts,
    chosen,
    examples_of,
    open_photos,
    token_ids,
    written_captions,
)
from shiftless.training.lora.layers import Layers, in_training
from shiftless.training.lora.run_folder import PHOTOS, Check, RunFolder, lora_bytes
from shiftless.training.lora.settings import NOISE, Settings, settings_for

_WARMUP = 20  # steps
_MIXED = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "no"}


class Report(Protocol):
    """Who is told how a run goes; the command line shows it, a program may keep it."""

    def say(self, text: str) -> None:
        """One line."""

    def step(self, progress: float, text: str) -> None:
        """After each step; progress from 0 to 1."""

    def pictures(self, step: int, rows: list[list[np.ndarray]]) -> None:
        """At each check, for some held-out photos: the photo, the base model's view of it, and the LoRA's."""


class Silent:
    """Tells nobody."""

    def say(self, text: str) -> None: ...
    def step(self, progress: float, text: str) -> None: ...
    def pictures(self, step: int, rows: list[list[np.ndarray]]) -> None: ...


@dataclass(frozen=True)
class Trained:
    """What a run gave.

    path     the LoRA file       best    the check it was taken from
    curve    every check, with the content shift relative to the base model's: 1 is the base, less is better
    skipped  photos that could not be read

    `best.shift` is the least of several on the same photos, which flatters it; `best.reported` is measured on held-out
    photos that had no say in the choice.
    """

    path: Path
    best: Check
    curve: tuple[Check, ...]
    skipped: tuple[str, ...]

    @property
    def improved(self) -> bool:
        """Whether the chosen candidate shifts less than the base model does on photos that did not choose it."""
        return self.best.reported < 1


def train(
    model: Backbone,
    photos: Sequence[Any],
    out: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    captions: str | os.PathLike[str] | CaptionFolder | Sequence[str] | None = None,
    captioner: str | None = "",
    restart: bool = False,
    report: Report | None = None,
) -> Trained:
    """Train a LoRA of the photos' look, keep candidates, and write the one that shifts held-out photos least.

    Half of the held-out photos choose the candidate; what it saves is reported on the other half. The LoRA's weights
    are trained in fp32, whatever the model's dtype.

    photos     paths, or anything that `open_photo` takes        out  the .safetensors file to write
    captions   a folder with a .txt for each photo, at the photo's place below the folder that holds all photos; or a
               sentence for each photo; otherwise the captioner writes them
    captioner  its name, "" for the model's own, None for no captions at all
    restart    begin anew although a run of this name has begun; by default it is continued

    The model is as before afterwards. A run of the same photos, settings and steps gives the same file on one machine.
    Raises BadInput for a model of another family than Stable Diffusion 1 and 2, one for inpainting, one that is
    offloaded or quantised, too few photos, a file that cannot be written, and a run begun with other settings.
    """
    if model.spec.family != "sd":
        raise BadInput(
            f"{model.spec.name}: LoRAs are trained here for Stable Diffusion 1 and 2, not for the {model.spec.family} "
            "family; use one that was trained elsewhere, such as with diffusers"
        )
    if "inpaint" in model.spec.techniques:
        raise BadInput(f"{model.spec.name}: LoRAs are not trained on a model for inpainting; take its base model")
    steerable(model, "lora")  # quantised weights take none
    if getattr(model, "offload", ""):
        raise BadInput(
            f"{model.spec.name}: LoRAs are not trained on a model that is offloaded; load it without offload"
        )
    report = report or Silent()
    settings = settings or settings_for(model)
    folder = RunFolder(out)
    skipped: list[str] = []
    opened = open_photos(photos, skipped)
    for message in skipped:
        report.say(f"left out: {message}")
    parts = chosen(opened, settings)
    sentences = _sentences(model, parts.learn, captions, captioner, report, opened)
    folder.begin(_plan(model, settings, parts, sentences), restart=restart)
    examples = examples_of(model, parts.learn, sentences)
    choosing, reporting = (
        HeldOut(model, examples_of(model, held, [""] * len(held)), settings.read_at, settings.seed)
        for held in (parts.choose, parts.report)
    )
    report.say(
        f"{len(parts.learn)} photos to learn from, {len(parts.choose)} held out to choose by, {len(parts.report)} to "
        f"report on; {sum(map(bool, sentences))} have captions"
    )
    with in_training(_models(model, settings), settings) as layers:
        run = _Run(model, settings, layers, examples, (choosing, reporting), folder, report)
        run.go()
    best = min(run.curve, key=lambda check: (check.shift, check.step))
    about = folder.plan | {"curve": [vars(c) for c in run.curve], "best_step": best.step, "base_errors": run.base}
    write_atomic(folder.out, lora_bytes(folder.candidate(best.step), about))
    return Trained(folder.out, best, tuple(run.curve), tuple(skipped))


def _models(model: Any, settings: Settings) -> dict[str, nn.Module]:
    return {"unet": model.unet} | ({"text_encoder": model.text_encoder} if settings.text_lr else {})


def _plan(model: Any, settings: Settings, parts: Parts, sentences: list[str]) -> dict[str, Any]:
    """What a run may not change when it is continued, and what its file says of it; lengths may grow."""
    fixed = {k: v for k, v in vars(settings).items() if k not in ("epochs", "steps", "minutes", "checks")}
    digests = {name: [photo.digest for photo in part] for name, part in zip(PHOTOS, parts)}
    about = {"model": model.spec.name, "weights": model.fingerprint, "dtype": str(model.dtype).removeprefix("torch.")}
    return {**about, **fixed, **digests, "captions": sentences}


def _sentences(
    model: Any, learn: list[Photo], captions: Any, captioner: str | None, report: Report, opened: list[Photo]
) -> list[str]:
    """A sentence for each photo to learn from, "" where there is none."""
    if isinstance(captions, (str, os.PathLike)):
        captions = CaptionFolder(captions, photos=[photo.name for photo in opened])
    if isinstance(captions, CaptionFolder):
        return written_captions(captions, learn, report.say)
    if captions is not None:
        if len(captions) != len(opened):
            raise BadInput(f"{len(captions)} captions for {len(opened)} photos; give one for each, '' for none")
        of = {photo.digest: text for photo, text in zip(opened, captions)}
        return [of[photo.digest] for photo in learn]
    if captioner is None:
        return [""] * len(learn)
    try:
        from shiftless.conditions.caption import remembered

        return list(remembered(model.captioner(captioner), learn))
    except BadInput as error:
        if captioner:
            raise
        report.say(f"no captioner, so photos are shown with the empty caption only ({error})")
        return [""] * len(learn)


class _Denoiser(nn.Module):
    """Text encoder and denoiser as one module, so that accelerate prepares both."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.unet, self.text_encoder = model.unet, model.text_encoder

    def forward(self, noisy: torch.Tensor, timesteps: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        embeds = self.text_encoder(input_ids=ids).last_hidden_state
        return self.unet(noisy, timesteps, embeds, return_dict=False)[0]


class _Run:
    """Take steps until the length is spent; check, and leave a checkpoint, every so often."""

    def __init__(
        self, model: Any, settings: Settings, layers: Layers, examples: list[Example],
        held_out: tuple[HeldOut, HeldOut], folder: RunFolder, report: Report,
    ) -> None:  # fmt: skip
        self.model, self.settings, self.layers = model, settings, layers
        self.judged, self.reporting = held_out
        self.folder, self.report, self.examples = folder, report, examples
        self.batches = Batches(examples, settings)
        self.steps = settings.steps or (settings.epochs or 0) * math.ceil(self.batches.an_epoch / settings.accumulate)
        self.step, self.seconds, self.loss = 0, 0.0, math.nan
        self.curve: list[Check] = []
        rates = {"unet": settings.lr, "text_encoder": settings.text_lr}
        groups = [{"params": layers.parameters(part), "lr": rates[part], "peak": rates[part]} for part in layers.parts]
        self.accelerator = _accelerator(model, settings.accumulate)
        denoiser, optimiser = _Denoiser(model), torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=1e-2)
        self.denoiser, self.optimiser = self.accelerator.prepare(denoiser, optimiser, device_placement=[False, False])
        self.base, self._base_reported = (held.errors() for held in held_out)  # the layers still add nothing
        self._base_views = self._views() if not isinstance(report, Silent) else []
        if (state := folder.state()) is not None:
            self._restore(state)

    def progress(self) -> float:
        if self.settings.minutes is not None:
            return min(1.0, self.seconds / (60 * self.settings.minutes))
        return min(1.0, self.step / self.steps)

    def go(self) -> None:
        """Train to the end; afterwards there is at least one check."""
        every = 1 / self.settings.checks
        due = (math.floor(self.progress() / every + 1e-9) + 1) * every
        coming = self.batches.start(self.step * self.settings.accumulate)
        mark = time.monotonic()
        while self.progress() < 1:
            self._take_step(coming)
            now = time.monotonic()
            self.seconds, mark = self.seconds + now - mark, now
            part = self.progress()
            self.report.step(part, f"step {self.step}  loss {self.loss:.4f}")
            if part >= due - 1e-9:
                self._check()
                due = (math.floor(part / every + 1e-9) + 1) * every
                now = time.monotonic()
                self.seconds, mark = self.seconds + now - mark, now
        if not self.curve or self.curve[-1].step != self.step:
            self._check()

    def _take_step(self, coming: Iterator[list[tuple[int, str]]]) -> None:
        rate = min(1.0, (self.step + 1) / _WARMUP) * (0.05 + 0.475 * (1 + math.cos(math.pi * self.progress())))
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * rate
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.step)
        for _ in range(self.settings.accumulate):
            with self.accelerator.accumulate(self.denoiser):
                loss = self._loss(next(coming), generator)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    trained = [p for group in self.optimiser.param_groups for p in group["params"]]
                    self.accelerator.clip_grad_norm_(trained, 1.0)
                self.optimiser.step()
                self.optimiser.zero_grad()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise BadInput(f"the loss is {value} at step {self.step}; take a smaller learning rate or dtype fp32")
        self.loss = value if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * value
        self.step += 1

    def _loss(self, batch: list[tuple[int, str]], generator: torch.Generator) -> torch.Tensor:
        model, schedule = self.model, self.model.schedule
        clean = torch.cat([self.examples[i].latent for i, _ in batch])
        noise = torch.randn(clean.shape, generator=generator)
        timesteps = noise_levels(len(batch), len(schedule), NOISE[self.settings.noise], generator)
        noisy, target = noisy_and_target(schedule, clean, noise, timesteps)
        ids = token_ids(model, [caption for _, caption in batch])
        noisy = noisy.to(model.device, model.dtype, memory_format=memory_format(model.device))
        predicted = self.denoiser(noisy, timesteps.to(model.device), ids)
        return nn.functional.mse_loss(predicted.float(), target.to(model.device))

    def _check(self) -> None:
        errors = self.judged.errors()
        reported = relative(self.reporting.errors(), self._base_reported)
        errors_by_timestep = {str(t): e for t, e in errors.items()}
        self.curve.append(Check(self.step, relative(errors, self.base), errors_by_timestep, reported))
        self.folder.save_candidate(self.step, self.layers.saved())
        self.folder.save_state(
            {
                "numbers": self.layers.numbers(), "optimiser": self.optimiser.state_dict(), "step": self.step,
                "seconds": self.seconds, "loss": self.loss, "curve": [vars(check) for check in self.curve],
            }
        )  # fmt: skip
        self.report.say(f"step {self.step}: content shift {self.curve[-1].shift:.3f} of the base model's")
        if self._base_views:
            photos = [example.photo.array for example in self.judged.examples]
            self.report.pictures(self.step, [list(row) for row in zip(photos, self._base_views, self._views())])

    def _restore(self, state: dict[str, Any]) -> None:
        self.layers.set_numbers(state["numbers"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.loss = state["step"], state["seconds"], state["loss"]
        self.curve = [Check(**check) for check in state["curve"]]
        self.report.say(f"continues at step {self.step}")

    def _views(self, most: int = 4) -> list[np.ndarray]:
        """What the model, as it is now, sees in the first held-out photos through the most noise of the checks."""
        t, count = max(self.settings.read_at), min(most, len(self.judged.examples))
        return [to_uint8(self.model.decode(self.judged.clean(i, t)))[0] for i in range(count)]


def _accelerator(model: Any, accumulate: int) -> Any:
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ImportError:
        raise BadInput("training needs accelerate; install it with: pip install 'shiftless[train]'") from None

    AcceleratorState._reset_state(reset_partial_state=True)  # the last run of this process may have had another dtype
    made = Accelerator(
        cpu=model.device.type == "cpu", mixed_precision=_MIXED[model.dtype], gradient_accumulation_steps=accumulate
    )
    if made.num_processes > 1:
        raise BadInput("a LoRA is trained on one device; start the command without a launcher")
    return made


def noise_levels(count: int, length: int, power: float, generator: torch.Generator) -> torch.Tensor:
    """Draw B timesteps of a schedule of `length`: length u ** power, so that a power above 1 means less noise.

    >>> draws = noise_levels(2000, 1000, 2.0, torch.Generator().manual_seed(0))
    >>> int(draws.min()), int(draws.max()) < 1000, bool(200 < draws.float().median() < 300)
    (0, True, True)
    """
    return (length * torch.rand(count, generator=generator) ** power).long().clamp(max=length - 1)


def noisy_and_target(
    schedule: Schedule, clean: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add noise of each row's own timestep to B c h w, and give what the model should predict for it.

    >>> schedule = Schedule.from_betas(0.00085, 0.012, 1000)
    >>> clean, noise = torch.zeros(2, 4, 8, 8), torch.ones(2, 4, 8, 8)
    >>> noisy, target = noisy_and_target(schedule, clean, noise, torch.tensor([0, 999]))
    >>> bool(noisy[0].max() < noisy[1].max()), bool((target == noise).all())
    (True, True)
    """
    alpha, sigma = (
        values[timesteps.cpu()].to(clean).view(-1, 1, 1, 1) for values in (schedule.alphas, schedule.sigmas)
    )
    targets = {
        "epsilon": noise, "sample": clean, "v_prediction": alpha * noise - sigma * clean, "flow": noise - clean,
    }  # fmt: skip
    return alpha * clean + sigma * noise, targets[schedule.prediction]
