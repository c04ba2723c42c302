"""Stage 3: train a ControlNet that conditions the denoiser on edges; the denoiser's weights are frozen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from miniworld.training.attention import use_fast_attention
from miniworld.training.batches import Batch
from miniworld.training.checkpoint import swap_folder
from miniworld.training.edges import EdgeMaps, draw_edges
from miniworld.training.encoded_pictures import tokenize
from miniworld.training.fp32_master import Fp32MasterAdamW
from miniworld.training.run import Numbers
from miniworld.training.stage import Stage
from miniworld.training.unet import N_PICTURES, NoiseLoss, encoded, noise_step, save_part
from shiftless.conditions.control_classes import check_fit
from shiftless.conditions.silence import silenced
from shiftless.errors import BadInput

NAME = "controlnet-canny"
"""The ControlNet's folder, beside the parts of the pipeline that it is for."""
SHARES = (0.50, 0.05, 0.15, 0.30)
"""How often each grain of caption is shown: half are dropped (Zhang et al. 2023), so that edges alone must suffice."""
LEVELS = ((0.0, 0.01, 0.80, 1.0), (0.0, 20.0, 420.0, 1000.0))
"""Timesteps of a batch: 1% below 20, 79% in 20 .. 419, where features are read, 20% above, so that it draws as well."""


class ControlLoss(NoiseLoss):
    """The denoiser's training loss, with a ControlNet conditioned on edges."""

    def __init__(self, controlnet: ControlNetModel, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__(unet, text_encoder)
        self.controlnet = controlnet

    def predict(self, noisy: Tensor, timesteps: Tensor, prompt: Tensor, *guides: Tensor) -> Tensor:
        """Predict the noise B 4 H W, guided by edges of 0 and 1: B 1 and the height and width of the pictures."""
        edges = guides[0].to(noisy.dtype).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        down, mid = self.controlnet(noisy, timesteps, prompt, edges, return_dict=False)
        predicted: Tensor = self.unet(
            noisy, timesteps, prompt, down_block_additional_residuals=down, mid_block_additional_residual=mid
        ).sample
        return predicted


def new_controlnet(unet: UNet2DConditionModel, stride: int, seed: int = 0) -> ControlNetModel:
    """Build a ControlNet on a copy of the denoiser's encoder, for latents that are `stride` times smaller than edges.

    The published start has zero convolutions behind the copy and one before it (Zhang et al. 2023). The ones behind
    it alone leave the denoiser as it was; the one before it is random here, so that edges count from the first step.

    >>> from miniworld.training.architecture import new_unet
    >>> net = new_controlnet(new_unet(block_out_channels=(32, 32, 32), attention_head_dim=2), stride=4)
    >>> net.controlnet_cond_embedding(torch.ones(1, 3, 32, 32)).shape
    torch.Size([1, 32, 8, 8])
    """
    torch.manual_seed(seed)
    widths = tuple(16 * 2**i for i in range(stride.bit_length()))  # a halving between each two
    net: ControlNetModel = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=widths)
    for module in net.controlnet_cond_embedding.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net


@contextmanager
def opened(net: ControlNetModel) -> Iterator[None]:
    """Inside the `with`, the zero convolutions are random: zeros would block every gradient to be compared."""
    parameters = [*net.controlnet_down_blocks.parameters(), *net.controlnet_mid_block.parameters()]
    kept = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p in parameters:
            p.normal_(std=0.05, generator=torch.Generator().manual_seed(0))
    try:
        yield
    finally:
        with torch.no_grad():
            for p, was in zip(parameters, kept):
                p.copy_(was)


def train_controlnet(
    stage: Stage,
    *,
    model: str | Path | None = None,
    start_from: str | Path | None = None,
    batch: int = 32,
    lr: float = 1.2e-3,
    latest: str | Path | None = None,
) -> Path:
    """Train a Canny ControlNet and write it to `controlnet-canny` in the run's folder.

    `model` is the pipeline's folder it is for: `mini` of the stage before, or else the embedded one. `start_from` is a
    ControlNet's folder that is trained further. `latest` is a folder that gets the moving average at every checkpoint.
    Raises `BadInput` when a folder is not what it should be.
    """
    out = stage.out
    coder, tokenizer, text_encoder, unet = load_pipeline(model_of(out) if model is None else Path(model))
    stride = 2 ** (len(coder.config.block_out_channels) - 1)
    if start_from is None:
        controlnet = new_controlnet(unet, stride, stage.seed)
    else:
        controlnet = _existing(Path(start_from), unet, stride)
    with stage.begin("controlnet") as log:
        drawn = stage.picture_folder(N_PICTURES)
        data, empty = encoded(stage, coder, tokenizer, drawn), torch.from_numpy(tokenize(tokenizer, [""]))
        draw_edges(drawn, out / "edges", progress=True)
        edges = EdgeMaps(out / "edges")
        if len(edges) != len(data):
            raise BadInput(
                f"{out / 'edges'}: {len(edges)} edge maps for the {len(data)} pictures; "
                f"delete this folder and {out / 'latents-*'} to have them made again"
            )
        network = ControlLoss(controlnet.train(), unet, text_encoder).to(stage.device)
        for part in (controlnet, unet):
            part.to(memory_format=torch.channels_last)
        use_fast_attention(controlnet, unet, text_encoder)
        with silenced():
            for frozen in (unet, text_encoder):
                frozen.requires_grad_(False).eval().to(stage.dtype)
        optimiser = Fp32MasterAdamW(network.parameters(), dtype=stage.dtype, weight_decay=0.01, ema_max=0.9995)
        run = stage.run(optimiser, lr)

        def batch_of(number: int) -> Batch:
            shown = data.batch(batch, stage.seed, number, empty, shares=SHARES, levels=LEVELS)
            return *shown.values(), edges.batch(data.rows(batch, stage.seed, number))

        def write(target: Path) -> None:
            with optimiser.averaged():
                swap_folder(target, lambda path: save_part(controlnet, path))

        def step(number: int, _: float) -> tuple[Tensor, int, Numbers]:
            return noise_step(loss_of, batches(number))

        with opened(controlnet):
            loss_of = stage.compiled(network, batch_of(0))
        batches = stage.batches(batch_of)
        if latest is not None:
            run.on_save = lambda: write(Path(latest))
        stage.ready(network, len(data))
        run.go(step)
        write(out / NAME)
        log.say(f"written to {out / NAME}")
    return out / NAME


def model_of(out: Path) -> Path:
    """Say which pipeline a run in the folder `out` adds to: the one that was trained there, else the embedded one."""
    from shiftless.mini import weights

    return out / "mini" if (out / "mini" / "model_index.json").exists() else weights()


def load_pipeline(folder: Path) -> tuple[AutoencoderKL, CLIPTokenizer, CLIPTextModel, UNet2DConditionModel]:
    """Load the parts of a pipeline that is added to, in float32; raises `BadInput` when there is none."""
    if not (folder / "model_index.json").exists():
        raise BadInput(f"{folder}: no model_index.json here; give the folder of a trained pipeline")
    with silenced():
        return (
            AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32),
            CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer"),
            CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", torch_dtype=torch.float32),
            UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=torch.float32),
        )


def _existing(folder: Path, unet: UNet2DConditionModel, stride: int) -> ControlNetModel:
    if not (folder / "config.json").exists():
        raise BadInput(f"{folder}: no ControlNet here; give the folder that holds its config.json")
    net: ControlNetModel = ControlNetModel.from_pretrained(folder, torch_dtype=torch.float32)
    check_fit(net, unet, stride, str(folder))
    return net
