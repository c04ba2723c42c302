"""Stage 2: the denoiser and its text encoder learn the world's latents and captions, together."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, __version__
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from miniworld.training.architecture import new_scheduler, new_text_encoder, new_unet
from miniworld.training.attention import use_fast_attention
from miniworld.training.attention_share import EVERY, attention_share
from miniworld.training.batches import Batch
from miniworld.training.checkpoint import save_half, swap_folder
from miniworld.training.compiled import Loss
from miniworld.training.encoded_pictures import EncodedPictures, encode_pictures, fingerprint, tokenize
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.grown import forget_prompts, grow, move_words
from miniworld.training.pictures import PictureFolder
from miniworld.training.run import Numbers
from miniworld.training.stage import Stage
from miniworld.training.tokenizer import new_tokenizer, save_tokenizer
from shiftless.errors import BadInput

N_PICTURES = 30_000
"""How many pictures a run draws for itself."""


class Denoising(nn.Module):
    """The training loss of what predicts noise: the squared error of the noise times min(SNR + 1, 5) / SNR.

    In terms of the clean latent that is a weight of SNR + 1, the one that predicting v implies (Salimans and Ho 2022),
    cut off at 5 as in min-SNR (Hang et al. 2023). Plain noise error hardly counts the high noise levels, where shapes
    and captions are learned. `most` is the largest weight; only schedules that end in nearly nothing but noise reach
    it, and there a prediction rounded to bfloat16 would count more than everything else.
    """

    alphas: Tensor
    weights: Tensor

    def __init__(self, alphas: Tensor, gamma: float = 5.0, most: float = 50.0) -> None:
        super().__init__()
        alphas = alphas.float()
        snr = alphas / (1 - alphas)
        self.register_buffer("alphas", alphas, persistent=False)
        self.register_buffer("weights", ((snr + 1).clamp(max=gamma) / snr / gamma).clamp(max=most), persistent=False)

    def noisy(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Add noise B C H W to clean latents or pixels B C H W, as much as the timesteps B say."""
        alpha = self.alphas[timesteps][:, None, None, None]
        return alpha.sqrt() * clean + (1 - alpha).sqrt() * noise

    def loss(self, predicted: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Give (weighted loss, plain squared error of each picture, B) of a prediction of the noise B C H W."""
        error = (predicted.float() - noise).square().mean((1, 2, 3))
        return (error * self.weights[timesteps]).mean(), error.detach()


class NoiseLoss(Denoising):
    """A denoiser and its text encoder with their training loss, in one graph that compiles."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__(new_scheduler().alphas_cumprod)
        self.unet, self.text_encoder = unet, text_encoder

    def forward(
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, tokens: Tensor, *guides: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Give (weighted loss, plain squared error of each picture, B) of a batch of `EncodedPictures.batch`."""
        noisy = self.fed(latents, noise, timesteps)
        predicted = self.predict(noisy, timesteps, self.text_encoder(tokens)[0].to(noisy.dtype), *guides)
        return self.loss(predicted, noise, timesteps)

    def fed(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Add noise to latents, all B 4 H W, and give them as the denoiser takes them: channels last, in its dtype."""
        noisy = self.noisy(latents, noise, timesteps).to(self.unet.conv_in.weight.dtype)
        return noisy.contiguous(memory_format=torch.channels_last)

    def predict(self, noisy: Tensor, timesteps: Tensor, prompt: Tensor, *guides: Tensor) -> Tensor:
        """Predict the noise B 4 H W; here nothing but the prompt guides."""
        predicted: Tensor = self.unet(noisy, timesteps, prompt).sample
        return predicted


def by_level(errors: Tensor, timesteps: Tensor) -> Numbers:
    """Give the mean error at each of four noise levels, of errors B at timesteps B; NaN where a batch has none.

    >>> means = by_level(torch.tensor([1.0, 3.0, 8.0]), torch.tensor([0, 249, 600]))
    >>> [(name, float(mean)) for name, mean in means.items()]
    [('mse_0-249', 2.0), ('mse_250-499', nan), ('mse_500-749', 8.0), ('mse_750-999', nan)]
    """
    at = (timesteps // 250)[:, None] == torch.arange(4, device=timesteps.device)
    means = torch.where(at, errors[:, None], 0.0).sum(0) / at.sum(0)
    return {f"mse_{250 * i}-{250 * i + 249}": mean for i, mean in enumerate(means.unbind())}


def noise_step(loss_of: Loss, shown: Batch) -> tuple[Tensor, int, Numbers]:
    """Take the step of a stage that learns noise, from a batch whose third tensor is its timesteps."""
    loss, errors = loss_of(*shown)
    return loss, len(errors), {"mse": errors.mean(), **by_level(errors, shown[2])}


def train_unet(
    stage: Stage,
    *,
    vae: str | Path | None = None,
    start_from: str | Path | None = None,
    batch: int = 32,
    lr: float = 8e-4,
    latest: str | Path | None = None,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Train denoiser and text encoder and write the whole pipeline to `mini` in the run's folder.

    It needs an autoencoder: `vae`, or the one of stage 1 in the run's folder, or that of `start_from`, a pipeline's
    folder whose denoiser and text encoder are trained further, grown to this size where they are smaller. `latest` is
    a folder that gets the moving average at every checkpoint. Raises `BadInput` without an autoencoder.
    """
    vae_folder = Path(vae) if vae is not None else stage.out / "vae"
    if vae is None and start_from is not None and not vae_folder.exists():
        vae_folder = Path(start_from) / "vae"
    if not (vae_folder / "config.json").exists():
        raise BadInput(f"{vae_folder}: no autoencoder here; train one first (--stage vae)")
    coder = AutoencoderKL.from_pretrained(vae_folder, torch_dtype=torch.float32)
    tokenizer, text_encoder, unet = _networks(start_from, stage.seed, changes or {})
    with stage.begin("unet") as log:
        data = encoded(stage, coder, tokenizer, stage.picture_folder(N_PICTURES))
        empty = torch.from_numpy(tokenize(tokenizer, [""]))
        network = NoiseLoss(unet, text_encoder).train().to(stage.device)
        unet.to(memory_format=torch.channels_last)
        use_fast_attention(unet, text_encoder)
        optimiser = Fp32MasterAdamW(network.parameters(), dtype=stage.dtype, weight_decay=0.01, ema_max=0.9995)
        run = stage.run(optimiser, lr)

        def batch_of(number: int) -> Batch:
            return tuple(data.batch(batch, stage.seed, number, empty).values())

        def write(target: Path) -> None:
            with optimiser.averaged():
                swap_folder(target, lambda path: save_pipeline(path, coder, unet, text_encoder, tokenizer))

        def step(number: int, _: float) -> tuple[Tensor, int, Numbers]:
            logged = share()(unet, text_encoder, network.alphas) if number % EVERY == EVERY - 1 else {}
            loss, images, numbers = noise_step(loss_of, batches(number))
            return loss, images, {**numbers, **logged}

        share = cache(partial(attention_share, coder, tokenizer))  # its pictures are drawn when they are needed
        loss_of, batches = stage.compiled(network, batch_of(0)), stage.batches(batch_of)
        if latest is not None:
            run.on_save = lambda: write(Path(latest))
        stage.ready(network, len(data))
        run.go(step)
        write(stage.out / "mini")
        log.say(f"written to {stage.out / 'mini'}")
    return stage.out / "mini"


def encoded(stage: Stage, vae: AutoencoderKL, tokenizer: Any, drawn: PictureFolder) -> EncodedPictures:
    """Encode the pictures of a run that are not encoded yet, on its device, and open them."""
    folder = stage.out / f"latents-{fingerprint(vae, tokenizer)}"
    encode_pictures(vae, tokenizer, drawn, folder, device=stage.device, dtype=stage.dtype, progress=True)
    return EncodedPictures(folder)


def _networks(start_from: str | Path | None, seed: int, changes: dict[str, Any]) -> tuple[Any, Any, Any]:
    tokenizer = new_tokenizer()
    text_encoder, unet = new_text_encoder(tokenizer, seed), new_unet(seed, **changes)
    if start_from is not None:
        old = CLIPTextModel.from_pretrained(start_from, subfolder="text_encoder", torch_dtype=torch.float32)
        grow(UNet2DConditionModel.from_pretrained(start_from, subfolder="unet", torch_dtype=torch.float32), unet)
        if not move_words(
            old, CLIPTokenizer.from_pretrained(start_from, subfolder="tokenizer"), text_encoder, tokenizer
        ):
            forget_prompts(unet, seed)
    return tokenizer, text_encoder, unet


def save_pipeline(
    folder: str | Path, vae: AutoencoderKL, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, tokenizer: Any
) -> None:
    """Write a folder that plain `StableDiffusionPipeline.from_pretrained` loads, in float16 safetensors."""
    folder = Path(folder)
    for name, model in (("vae", vae), ("unet", unet), ("text_encoder", text_encoder)):
        save_part(model, folder / name)
    save_tokenizer(tokenizer, folder / "tokenizer")
    new_scheduler().save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": __version__,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def save_part(model: Any, folder: Path) -> None:
    """Write one network as a diffusers or transformers folder, in float16 safetensors, without its training kernels."""
    save_half(_plain(model), folder)


def _plain(model: Any) -> Any:
    if isinstance(model, CLIPTextModel):
        return deepcopy(model)
    copy = type(model).from_config(model.config)
    copy.load_state_dict(model.state_dict())
    return copy
