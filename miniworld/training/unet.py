"""Stage 2: the denoiser and its text encoder learn the world's latents and captions, together."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, __version__
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from miniworld.training.architecture import new_scheduler, new_text_encoder, new_unet
from miniworld.training.budget import Budget, Log
from miniworld.training.checkpoint import save_half, swap_folder
from miniworld.training.compiled import compiled
from miniworld.training.encoded_pictures import EncodedPictures, encode_pictures, fingerprint, tokenize
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.norm import use_kernel
from miniworld.training.pictures import PictureFolder, draw_pictures
from miniworld.training.run import Mean, Run
from miniworld.training.tokenizer import new_tokenizer, save_tokenizer
from shiftless.errors import BadInput


class PlainAttention:
    """Attention as two batched matrix products: on a processor its backward is three times as fast as the fused one."""

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Attend from hidden states B N C to themselves, or to the prompt B M D."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            self._split(x, attn.heads) for x in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        weights = torch.bmm(q * attn.scale, k.transpose(1, 2)).softmax(-1)
        out = torch.bmm(weights, v)
        b, n, d = hidden_states.shape[0], out.shape[1], out.shape[2]
        out = out.view(b, attn.heads, n, d).transpose(1, 2).reshape(b, n, attn.heads * d)
        return attn.to_out[0](out)

    @staticmethod
    def _split(x: Tensor, heads: int) -> Tensor:
        b, n, c = x.shape
        return x.view(b, n, heads, c // heads).transpose(1, 2).reshape(b * heads, n, c // heads)


class NoiseLoss(nn.Module):
    """A denoiser and its text encoder with their training loss, in one graph that compiles.

    The loss is the squared error of the predicted noise times min(SNR + 1, 5) / SNR. In terms of the clean latent that
    is a weight of SNR + 1, the one that predicting v implies (Salimans and Ho 2022), cut off at 5 as in min-SNR (Hang
    et al. 2023). Plain noise error hardly counts the high noise levels, where shapes and captions are learned.
    """

    alphas: Tensor
    weights: Tensor

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel, gamma: float = 5.0) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder
        alphas = new_scheduler().alphas_cumprod.float()
        snr = alphas / (1 - alphas)
        self.register_buffer("alphas", alphas, persistent=False)
        self.register_buffer("weights", (snr + 1).clamp(max=gamma) / snr / gamma, persistent=False)

    def forward(
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, tokens: Tensor, *guides: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Give (weighted loss, plain mean squared error) of a batch of `EncodedPictures.batch`."""
        alpha = self.alphas[timesteps][:, None, None, None]
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        prompt = self.text_encoder(tokens)[0]
        dtype = self.unet.conv_in.weight.dtype
        noisy = noisy.to(dtype).contiguous(memory_format=torch.channels_last)
        predicted = self.predict(noisy, timesteps, prompt.to(dtype), *guides)
        error = (predicted.float() - noise).square().mean((1, 2, 3))
        return (error * self.weights[timesteps]).mean(), error.mean().detach()

    def predict(self, noisy: Tensor, timesteps: Tensor, prompt: Tensor, *guides: Tensor) -> Tensor:
        """Predict the noise B 4 H W; here nothing but the prompt guides."""
        predicted: Tensor = self.unet(noisy, timesteps, prompt).sample
        return predicted


def train_unet(
    out: str | Path,
    *,
    minutes: float | None = None,
    images: int | None = None,
    seed: int = 0,
    resume: bool = True,
    vae: str | Path | None = None,
    pictures: str | Path | None = None,
    n_pictures: int = 30_000,
    draw: bool = True,
    start_from: str | Path | None = None,
    batch: int = 32,
    lr: float = 8e-4,
    compile: bool = True,
    checkpoint_minutes: float = 5.0,
    latest: str | Path | None = None,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Train denoiser and text encoder and write the whole pipeline to `out/mini`; continues from `out/unet.pt`.

    It needs an autoencoder: `vae`, or `out/vae` of stage 1, or that of `start_from`, a pipeline's folder whose denoiser
    and text encoder are trained further. `latest` is a folder that gets the moving average at every checkpoint. A run
    of `images` is a function of its seed; one of `minutes` also of the machine. Raises `BadInput` without a length or
    an autoencoder.
    """
    out = Path(out)
    budget = Budget(minutes=minutes, images=images)
    vae_folder = Path(vae) if vae is not None else out / "vae"
    if vae is None and start_from is not None and not vae_folder.exists():
        vae_folder = Path(start_from) / "vae"
    if not (vae_folder / "config.json").exists():
        raise BadInput(f"{vae_folder}: no autoencoder here; train one first (--stage vae)")
    coder = AutoencoderKL.from_pretrained(vae_folder, torch_dtype=torch.float32)
    tokenizer, text_encoder, unet = _networks(start_from, seed, changes or {})
    folder = Path(pictures) if pictures is not None else out / "pictures"
    with Log("unet") as log:
        if draw:
            draw_pictures(folder, n_pictures, report=lambda a, b: log.say(f"{a} of {b} pictures drawn"))
        encoded = out / f"latents-{fingerprint(coder, tokenizer)}"
        encode_pictures(
            coder, tokenizer, PictureFolder(folder), encoded, report=lambda a, b: log.say(f"{a} of {b} encoded")
        )
        data, empty = EncodedPictures(encoded), torch.from_numpy(tokenize(tokenizer, [""]))
        network = NoiseLoss(unet, text_encoder).train()
        unet.to(memory_format=torch.channels_last)
        unet.set_attn_processor(PlainAttention())
        if hasattr(text_encoder, "set_attn_implementation"):
            text_encoder.set_attn_implementation("eager")  # for the same reason as PlainAttention
        optimiser = Fp32MasterAdamW(network.parameters(), weight_decay=0.01, ema_max=0.9995)
        run = Run(out / "unet.pt", optimiser, budget, log, lr, checkpoint_minutes)
        if resume:
            run.restore()
        if compile:
            use_kernel(unet)
        examples = [tuple(data.batch(batch, seed, 0, empty).values())] if compile else []
        loss_of = compiled(network, examples, log.say)  # before the clock runs
        mean = Mean()

        def write(target: Path) -> None:
            with optimiser.averaged():
                swap_folder(target, lambda path: save_pipeline(path, coder, unet, text_encoder, tokenizer))

        def step(number: int, _: float) -> tuple[Tensor, int, dict[str, float]]:
            loss, plain = loss_of(*data.batch(batch, seed, number, empty).values())
            return loss, batch, {"mse": mean(float(plain))}

        if latest is not None:
            run.on_save = lambda: write(Path(latest))
        log.say(
            f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters, {len(data)} pictures; training"
        )
        run.go(step)
        write(out / "mini")
        log.say(f"written to {out / 'mini'}")
    return out / "mini"


def _networks(start_from: str | Path | None, seed: int, changes: dict[str, Any]) -> tuple[Any, Any, Any]:
    if start_from is None:
        tokenizer = new_tokenizer()
        return tokenizer, new_text_encoder(tokenizer, seed), new_unet(seed, **changes)
    return (
        CLIPTokenizer.from_pretrained(start_from, subfolder="tokenizer"),
        CLIPTextModel.from_pretrained(start_from, subfolder="text_encoder", torch_dtype=torch.float32),
        UNet2DConditionModel.from_pretrained(start_from, subfolder="unet", torch_dtype=torch.float32),
    )


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
