"""Training of an IP-Adapter, which gives the denoiser the picture itself as a prompt; the denoiser is frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import IPAdapterPlusImageProjection
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from miniworld.training.attention import PlainAttention, use_fast_attention
from miniworld.training.batches import Batch
from miniworld.training.captioned import FINE
from miniworld.training.captioner import use_exact_norms
from miniworld.training.checkpoint import save_half, swap_folder
from miniworld.training.clip import normalised
from miniworld.training.control import LEVELS, SHARES, load_pipeline, model_of
from miniworld.training.encoded_pictures import tokenize
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.image_encoder import ENCODER, new_encoder
from miniworld.training.image_encoder import NAME as ENCODER_NAME
from miniworld.training.pictures import PictureFolder
from miniworld.training.run import Numbers
from miniworld.training.stage import Stage
from miniworld.training.unet import N_PICTURES, NoiseLoss, by_level, encoded
from shiftless.conditions.image_prompt import image_processor, published_names
from shiftless.conditions.silence import silenced
from shiftless.errors import BadInput

NAME = "ip-adapter-plus"
"""The IP-Adapter's folder, beside the parts of the pipeline that it is for; its file in there has the same name."""
DROPPED = 0.1
"""How often the picture is not shown. Its pixels are zero then, which is what pipelines show without an image."""
TAUGHT = 10.0
"""What the error against the denoiser that reads the fine caption weighs at first, beside the error of the noise."""
TAUGHT_IMAGES = 50_000
"""After how many images this weight has fallen to zero, so that the adapter may know more than a caption says."""

RESAMPLER: dict[str, Any] = {"hidden_dims": 128, "depth": 4, "dim_head": 64, "heads": 2, "num_queries": 16}
"""What makes 16 tokens of the encoder's, 0.8 M parameters; the published file leaves its depth of 4 no choice."""


class ImagePromptLoss(NoiseLoss):
    """The denoiser's training loss, with a picture as a prompt beside the words.

    The error of the noise alone taught an adapter nothing in 23,000 images: a caption lowers it by some three in a
    hundred, the rest is noise that nobody can know. So the adapter is first taught by the denoiser itself (a
    distillation): shown the picture, it must predict what the denoiser predicts that reads the fine caption.
    """

    def __init__(
        self,
        encoder: CLIPVisionModelWithProjection,
        resampler: IPAdapterPlusImageProjection,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        teacher: UNet2DConditionModel,
    ) -> None:
        super().__init__(unet, text_encoder)
        self.encoder, self.resampler, self.teacher = encoder, resampler, teacher

    def forward(
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, tokens: Tensor, *guides: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Give (weighted loss, squared errors 2 B) of a batch, whose guides are pixels, caption tokens and a weight.

        The first B errors are those of the noise, the others those against the prediction from the caption.
        """
        noisy = self.fed(latents, noise, timesteps)
        pixels, caption, weight = guides
        predicted = self.predict(noisy, timesteps, self.text_encoder(tokens)[0].to(noisy.dtype), pixels)
        with torch.no_grad():
            target = self.teacher(noisy, timesteps, self.text_encoder(caption)[0].to(noisy.dtype)).sample.float()
        loss, errors = self.loss(predicted, noise, timesteps)
        taught, apart = self.loss(predicted, target, timesteps)
        return loss + weight * taught, torch.cat([errors, apart])

    def predict(self, noisy: Tensor, timesteps: Tensor, prompt: Tensor, *guides: Tensor) -> Tensor:
        """Predict the noise B 4 H W, prompted by words and by pixels B 3 S S as the image encoder takes them."""
        tokens = self.resampler(self.encoder(guides[0].to(noisy.dtype)).last_hidden_state)
        predicted: Tensor = self.unet(noisy, timesteps, (prompt, [tokens])).sample
        return predicted


def new_image_prompt(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    side: int,
    seed: int = 0,
    encoder: CLIPVisionModelWithProjection | None = None,
    **changes: Any,
) -> ImagePromptLoss:
    """Build the parts of an IP-Adapter for pictures of `side` pixels, in place in a denoiser, which is frozen.

    Keys and values begin as those of the words (Ye et al. 2023), everything else at random, the image encoder too
    unless one is given. `changes` are values of `ENCODER` or `RESAMPLER` to replace.
    """
    torch.manual_seed(seed)
    shape = {**RESAMPLER, **{key: value for key, value in changes.items() if key in RESAMPLER}}
    if encoder is None:
        encoder = new_encoder(side, **{key: value for key, value in changes.items() if key in ENCODER})
    width = int(unet.config.cross_attention_dim)
    resampler = IPAdapterPlusImageProjection(embed_dims=encoder.config.hidden_size, output_dims=width, **shape)
    unet.requires_grad_(False)
    text_encoder.requires_grad_(False)
    teacher = UNet2DConditionModel.from_config(unet.config).eval()
    teacher.load_state_dict(unet.state_dict(), assign=True)  # the weights themselves, not a copy
    teacher.requires_grad_(False)
    use_fast_attention(unet, teacher, text_encoder, encoder)
    on_cpu = next(unet.parameters()).device.type == "cpu"
    if on_cpu:
        for block in resampler.layers:
            block.attn.set_processor(PlainAttention())
    processors = dict(unet.attn_processors)
    for name in image_layers(unet):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        kind = IPAdapterAttnProcessor if on_cpu else IPAdapterAttnProcessor2_0  # the first is plain matrix products
        made = kind(attention.to_k.out_features, width, num_tokens=(shape["num_queries"],))
        for ours, words in ((made.to_k_ip[0], attention.to_k), (made.to_v_ip[0], attention.to_v)):
            ours.weight.data.copy_(words.weight)
        processors[name] = made
    unet.set_attn_processor(processors)
    return ImagePromptLoss(encoder, resampler, unet, text_encoder, teacher)


def image_layers(unet: UNet2DConditionModel) -> list[str]:
    """Name the processors of the layers that look at prompts, in the order in which published files number them."""
    return [name for name in unet.attn_processors if name.endswith("attn2.processor")]


def image_prompts(pictures: PictureFolder, rows: list[int], seed: int, step: int) -> Tensor:
    """Give pictures B 3 S S as the image encoder takes them, the same for the same seed and step; some are dropped."""
    pixels = normalised(torch.from_numpy(np.stack([pictures[row][0] for row in rows])))
    kept = np.random.default_rng([seed, 8, step]).random(len(rows)) >= DROPPED
    return pixels * torch.from_numpy(kept)[:, None, None, None]


def train_image_prompt(
    stage: Stage,
    *,
    model: str | Path | None = None,
    batch: int = 8,
    lr: float = 5e-4,
    latest: str | Path | None = None,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Train an IP-Adapter with its image encoder and write both to `ip-adapter-plus` in the run's folder.

    `model` is the pipeline's folder it is for: `mini` of the stage before, or else the embedded one. `latest` is a
    folder that gets the moving average at every checkpoint. The picture that is denoised is its own prompt, and half
    of the captions are dropped. The image encoder begins as the one of the stage `image-encoder`, where the run's
    folder has one. Raises `BadInput` when a folder is not what it should be.
    """
    out = stage.out
    coder, tokenizer, text_encoder, unet = load_pipeline(model_of(out) if model is None else Path(model))
    with stage.begin("image-prompt") as log:
        drawn = stage.picture_folder(N_PICTURES)
        data, empty = encoded(stage, coder, tokenizer, drawn), torch.from_numpy(tokenize(tokenizer, [""]))
        if len(drawn) != len(data):
            raise BadInput(
                f"{out / 'latents-*'}: {len(data)} encoded pictures for the {len(drawn)} drawn; "
                "delete this folder to have them encoded again"
            )
        with silenced():
            unet.eval().to(stage.device, stage.dtype, memory_format=torch.channels_last)
            text_encoder.eval().to(stage.device, stage.dtype)
        side, begun = drawn[0][0].shape[0], trained_encoder(out / ENCODER_NAME)
        network = new_image_prompt(unet, text_encoder, side, stage.seed, begun, **(changes or {}))
        network.to(stage.device)
        optimiser = Fp32MasterAdamW(network.parameters(), dtype=stage.dtype, weight_decay=0.01, ema_max=0.9995)
        for part in (network.encoder, network.resampler):
            use_exact_norms(part)
        run = stage.run(optimiser, lr)

        def batch_of(number: int) -> Batch:
            shown = data.batch(batch, stage.seed, number, empty, shares=SHARES, levels=LEVELS)
            rows = data.rows(batch, stage.seed, number)
            pixels = image_prompts(drawn, rows.tolist(), stage.seed, number)
            blank = (pixels == 0).flatten(1).all(1)
            caption = torch.where(blank[:, None], shown["tokens"], data.tokens[rows, FINE].long())
            return *shown.values(), pixels, caption, torch.tensor(taught_weight(number * batch))

        def write(target: Path) -> None:
            with optimiser.averaged():
                swap_folder(target, lambda path: save_image_prompt(path, network))

        def step(number: int, _: float) -> tuple[Tensor, int, Numbers]:
            shown = batches(number)
            loss, errors = loss_of(*shown)
            noise, apart = errors.chunk(2)
            return loss, batch, {"mse": noise.mean(), "apart": apart.mean(), **by_level(noise, shown[2])}

        loss_of, batches = stage.compiled(network, batch_of(0)), stage.batches(batch_of)
        if latest is not None:
            run.on_save = lambda: write(Path(latest))
        stage.ready(network, len(data))
        run.go(step)
        write(out / NAME)
        log.say(f"written to {out / NAME}")
    return out / NAME


def taught_weight(images: int) -> float:
    """Say what the error against the denoiser that reads the fine caption weighs after so many images.

    >>> taught_weight(0), taught_weight(TAUGHT_IMAGES // 2), taught_weight(10 * TAUGHT_IMAGES)
    (10.0, 5.0, 0.0)
    """
    return TAUGHT * max(0.0, 1 - images / TAUGHT_IMAGES)


def trained_encoder(folder: Path) -> CLIPVisionModelWithProjection | None:
    """Load the image encoder that the stage before has trained; None where there is none."""
    if not folder.is_dir():
        return None
    with silenced():
        return CLIPVisionModelWithProjection.from_pretrained(folder, torch_dtype=torch.float32)


def save_image_prompt(folder: str | Path, network: ImagePromptLoss) -> None:
    """Write the IP-Adapter in the published layout, its image encoder beside it, in float16 safetensors."""
    folder = Path(folder)
    tensors = {f"image_proj.{key}": value for key, value in published_names(network.resampler.state_dict()).items()}
    for number, name in enumerate(image_layers(network.unet)):
        layer = network.unet.get_submodule(name)
        for key, linear in (("to_k_ip", layer.to_k_ip[0]), ("to_v_ip", layer.to_v_ip[0])):
            tensors[f"ip_adapter.{2 * number + 1}.{key}.weight"] = linear.weight
    halves = {key: value.detach().cpu().half().contiguous() for key, value in tensors.items()}
    save_file(halves, folder / f"{NAME}.safetensors")
    encoder = one_layer_more(network.encoder)
    save_half(encoder, folder / "image_encoder")
    image_processor(encoder.config.image_size).save_pretrained(folder / "image_encoder")


@torch.no_grad()
def one_layer_more(encoder: CLIPVisionModelWithProjection) -> CLIPVisionModelWithProjection:
    """Copy an image encoder, with a layer of zeros behind the others, which changes nothing.

    An IP-Adapter Plus is shown what goes into the last layer; it is trained on what comes out of the others.
    """
    config = {**encoder.config.to_dict(), "num_hidden_layers": encoder.config.num_hidden_layers + 1}
    copy = CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
    for p in copy.parameters():
        nn.init.zeros_(p)
    lacking, unknown = copy.load_state_dict(encoder.state_dict(), strict=False)
    last = f".layers.{encoder.config.num_hidden_layers}."
    assert not unknown
    assert all(last in key for key in lacking)
    return copy
