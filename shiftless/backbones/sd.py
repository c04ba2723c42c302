"""Stable Diffusion 1.x and 2.x: UNet2DConditionModel + AutoencoderKL + CLIP text, as diffusers ships them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from shiftless.backbones.base import Reading, Spec
from shiftless.backbones.sd_config import check_model, check_tokenizer
from shiftless.backbones.unet_taps import unet_taps
from shiftless.conditions.condition import Condition
from shiftless.conditions.config import check_complete, check_values
from shiftless.conditions.control import Control, digest_of_control, load_control, own_controls, residuals
from shiftless.conditions.hub import MODEL_FILES, fetch_again
from shiftless.conditions.lora import adapted
from shiftless.conditions.lora_file import digest_of_lora
from shiftless.conditions.prompt import encode_with_clip
from shiftless.conditions.silence import silenced
from shiftless.conditions.weights import DIFFUSERS, TRANSFORMERS, Weights, find_weights
from shiftless.digest import digest_of, digest_of_files, digest_of_tensors, marks_of, samples_of, state_of
from shiftless.errors import BadInput
from shiftless.memory_format import memory_format
from shiftless.noise import Schedule
from shiftless.progress import detail
from shiftless.taps.hooks import tapped
from shiftless.taps.layout import Layout
from shiftless.taps.lock import construction, exclusive
from shiftless.taps.names import Tap

if TYPE_CHECKING:
    from shiftless.conditions.captioner import Captioner

_PROMPTS_KEPT = 256
TECHNIQUES = ("prompt", "control", "lora", "start")
PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
NETWORKS = ("unet", "vae", "text_encoder")


class StableDiffusion:
    """The adapter; `shiftless.backbones.base.Backbone` documents each method.

    >>> from shiftless.backbones.registry import load
    >>> model = load("twin:sd15", dtype="fp32")
    >>> latent = model.encode_image(torch.zeros(1, 3, 64, 128))
    >>> condition = model.encode_prompt(["a photo of a horse"])
    >>> reading = model.denoise(latent, 50, condition, [tap for tap in model.taps if tap.name == "up1"])
    >>> latent.shape, reading.maps["up1"].shape, reading.prediction
    (torch.Size([1, 4, 8, 16]), torch.Size([1, 64, 4, 8]), None)
    """

    def __init__(
        self,
        name: str,
        parts: dict[str, Any],
        size: int | None,
        device: torch.device,
        dtype: torch.dtype,
        *,
        home: Path | None = None,
        controls: Mapping[str, Any] | None = None,
        made_of: Callable[[], str] | None = None,
        made_for: str = "",
    ) -> None:
        """Adapt loaded parts; `home` is their folder, `controls` the ControlNets elsewhere: kind -> hub id or maker.

        made_of  gives the digest of what the weights were made of (their files, or a seed), which does not depend on
                 the dtype that they were loaded in; "" or no function lets the parameters themselves be digested
        """
        with silenced():
            self.unet, self.vae, self.text_encoder = (
                parts[part].to(device=device, dtype=dtype).eval().requires_grad_(False)
                for part in ("unet", "vae", "text_encoder")
            )
        self._format = memory_format(device)
        self.unet.to(memory_format=self._format)
        self.vae.to(memory_format=self._format)
        for part in (self.unet, self.vae, self.text_encoder):
            _own_weights(part)
        self.tokenizer = parts["tokenizer"]
        self.device, self.dtype = device, dtype
        self.schedule = _schedule(parts["scheduler"])
        self._stride = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.taps = unet_taps(self.unet.config, self._stride)
        self._tap_by_name = {tap.name: tap for tap in self.taps}
        multiple = self._stride * 2 ** (len(self.unet.config.block_out_channels) - 1)
        native = size or _native(self.unet.config.sample_size, name) * self._stride
        channels = int(self.vae.config.latent_channels)
        latent = (channels, self._stride)
        self.spec = Spec(name, "sd", native, multiple, latent, techniques=TECHNIQUES, made_for=made_for)
        detail(f"{name}: {self.spec.family}, loaded on {device} in {str(dtype).removeprefix('torch.')}")
        self.home = home
        self._own_controls = {**(controls or {}), **(own_controls(home) if home is not None else {})}
        self._controls: dict[str, tuple[str, Control]] = {}  # name -> (digest of its contents, the ControlNet)
        self._captioners: dict[str, Captioner] = {}
        self._loras: tuple[tuple[str, float], ...] = ()  # those injected now: (digest of its contents, scale)
        self._prompts: OrderedDict[tuple[Any, ...], Condition] = OrderedDict()
        self._bare: dict[str, tuple[torch.Tensor, ...]] | None = None  # the networks' tensors while LoRAs are injected
        self._made_of, self._as_made = made_of, self._state()
        self._fingerprint: tuple[Any, str] = (None, "")

    @property
    def fingerprint(self) -> str:
        """The digest of the model's weights as they are now; it depends neither on a path nor on a name.

        The same files give the same fingerprint in every dtype. Weights that were changed after loading give another.

        >>> from shiftless.backbones.registry import load
        >>> load("twin:sd15", dtype="bf16").fingerprint == load("twin:sd15", dtype="fp32").fingerprint
        True
        """
        with exclusive(self.unet, self.text_encoder):
            state = self._state()
            if state != self._fingerprint[0]:
                made_of = self._made_of() if self._made_of is not None and state == self._as_made else ""
                self._fingerprint = (state, made_of)
                if not made_of:
                    tensors = {
                        f"{part}.{name}": tensor
                        for part in NETWORKS
                        for name, tensor in getattr(self, part).state_dict().items()
                    }
                    about = [self.schedule.prediction, list(self.schedule.betas()), self.tokenizer.get_vocab()]
                    self._fingerprint = (state, digest_of(digest_of_tensors(tensors), about))
            return self._fingerprint[1]

    def _tensors(self, part: str) -> tuple[torch.Tensor, ...]:
        if self._bare is not None:
            return self._bare[part]
        return tuple(getattr(self, part).state_dict(keep_vars=True).values())

    def _state(self, parts: Sequence[str] = NETWORKS) -> tuple[Any, ...]:
        tensors = [tensor for part in parts for tensor in self._tensors(part)]
        return state_of(tensors), samples_of(tensors)

    @torch.no_grad()
    def encode_image(
        self, pixels: torch.Tensor, *, latent: str = "mean", noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        """B 3 H W in [-1, 1] -> B c h w, scaled as the denoiser was trained.

        With latent="sample", `noise` of (B times m) c h w draws m posterior samples an image from one encoding.
        """
        pixels = pixels.to(self.device, self.dtype, memory_format=self._format)
        posterior = self.vae.encode(pixels).latent_dist
        clean = posterior.mean
        if latent == "sample":
            if noise is None:
                raise ValueError("latent='sample' needs the posterior noise")
            times = noise.shape[0] // clean.shape[0]
            mean, std = (x.repeat_interleave(times, 0) for x in (clean, posterior.std))
            clean = mean + std * noise.to(clean)
        shift = self.vae.config.get("shift_factor") or 0.0
        return (clean - shift) * self.vae.config.scaling_factor

    @torch.no_grad()
    def encode_prompt(self, prompts: Sequence[str]) -> Condition:
        """B texts -> embeds B T D; each text is encoded once and kept. Texts of one call need equal T."""
        conditions = [self._encode_one(prompt) for prompt in prompts]
        lengths = {c.embeds.shape[1] for c in conditions if c.embeds is not None}
        if len(lengths) > 1:
            raise ValueError(f"prompts of {sorted(lengths)} tokens cannot share a batch; encode them apart")
        embeds = torch.cat([c.embeds for c in conditions if c.embeds is not None])
        return Condition(embeds, tuple(c.words[0] for c in conditions))

    def _encode_one(self, prompt: str) -> Condition:
        with exclusive(self.text_encoder):
            key = (self._state(["text_encoder"]), self._loras, prompt)  # a LoRA may change the text encoder too
            if key not in self._prompts:
                self._prompts[key] = encode_with_clip(self.tokenizer, self.text_encoder, prompt)
                if len(self._prompts) > _PROMPTS_KEPT:
                    self._prompts.popitem(last=False)
            self._prompts.move_to_end(key)
            return self._prompts[key]

    def control(self, name: str) -> Control:
        """The ControlNet that a recipe names: the model's own by kind, or from a folder; loaded once and kept."""
        with exclusive(self.unet), construction():
            digest = self.digest("control", name)
            if name not in self._controls or self._controls[name][0] != digest:
                place = {"stride": self._stride, "device": self.device, "dtype": self.dtype}
                self._controls[name] = digest, load_control(name, self._own_controls, self.unet, **place)
                self._loaded(f"ControlNet {name}")
            return self._controls[name][1]

    def digest(self, technique: str, name: str) -> str:
        """Return the digest of the contents of what a recipe names: a "lora", a "control" or a "captioner"."""
        if technique == "lora":
            return digest_of_lora(self._lora_file(name))
        if technique == "control":
            return digest_of_control(name, self._own_controls)
        from shiftless.conditions.caption import find_captioner, fingerprint_of

        own = self._own_captioner()
        if not name and own is None:
            if name in self._captioners:
                return self._captioners[name].fingerprint
            raise BadInput(
                f"{self.spec.name}: this model has no captioner of its own; name one, such as captioner='blip'"
            )
        return fingerprint_of(find_captioner(name or str(own)))

    @contextmanager
    def adapted(self, loras: Sequence[tuple[str, float]]) -> Iterator[None]:
        """Inside this `with`, LoRA files act: paths, or names of files in the model folder's `loras/`."""
        files = tuple((self._lora_file(name), scale) for name, scale in loras)
        if not files:
            yield
            return
        with exclusive(self.unet, self.text_encoder):  # other threads wait: LoRAs change the model for every reader
            if self._loras:
                raise ValueError("LoRAs are in place already; give them all at once")
            digests = tuple((digest_of_lora(file), scale) for file, scale in files)
            self._bare = {part: self._tensors(part) for part in NETWORKS}
            try:
                with adapted(self.unet, self.text_encoder, files):
                    self._loras = digests
                    yield
            finally:
                self._loras, self._bare = (), None

    def loras(self) -> list[str]:
        """The names of the LoRAs that lie in the model's folder.

        >>> from shiftless.backbones.registry import load
        >>> load("twin:sd15").loras()
        []
        """
        return [] if self.home is None else sorted(path.stem for path in (self.home / "loras").glob("*.safetensors"))

    def controls(self) -> list[str]:
        """The kinds of ControlNets that are known for the model: in its folder, or published for it.

        >>> from shiftless.backbones.registry import load
        >>> load("twin:sd15").controls()
        ['canny']
        """
        return sorted(self._own_controls)

    def _lora_file(self, name: str) -> str:
        own = None if self.home is None else self.home / "loras" / f"{name}.safetensors"
        return str(own) if own is not None and own.is_file() and not Path(name).exists() else name

    def captioner(self, name: str) -> Captioner:
        """The captioner: the one in the model folder's `captioner/` for "", or by name; loaded once and kept."""
        from shiftless.conditions.caption import load_captioner

        with construction():
            loaded, digest = self._captioners.get(name), self.digest("captioner", name)
            if loaded is None or loaded.fingerprint != digest:
                where = name or str(self._own_captioner())
                self._captioners[name] = loaded = load_captioner(where, device=self.device, dtype=self.dtype)
                self._loaded(f"captioner {where}")
            return loaded

    def _loaded(self, what: str) -> None:
        detail(f"{self.spec.name}: {what} loaded on {self.device} in {str(self.dtype).removeprefix('torch.')}")

    def _own_captioner(self) -> Path | None:
        own = None if self.home is None else self.home / "captioner"
        return own if own is not None and own.is_dir() else None

    @torch.no_grad()
    def denoise(
        self,
        latent: torch.Tensor,
        timestep: int,
        condition: Condition,
        taps: Sequence[Tap] = (),
        *,
        full: bool = False,
    ) -> Reading:
        """Run the UNet at `timestep` and read `taps` on the way, B C H W each; stop after the last one."""
        latent = latent.to(self.device, self.dtype, memory_format=self._format)
        stop = bool(taps) and not full
        prediction: torch.Tensor | None = None
        steered = residuals(condition.steers, latent, timestep, condition.embeds)
        layout = Layout((latent.shape[2] * self._stride, latent.shape[3] * self._stride))
        by_name = self._tap_by_name
        with tapped(self.unet, taps, layout=layout, words=condition.words, by_name=by_name, stop=stop) as captured:
            prediction = self.unet(latent, timestep, condition.embeds, return_dict=False, **steered)[0]
        return Reading(captured.maps(), None if captured.stopped else prediction)

    def predict_clean(self, latent: torch.Tensor, prediction: torch.Tensor, timestep: int) -> torch.Tensor:
        """The clean latent that a prediction at `timestep` stands for, float32 B c h w."""
        return self.schedule.clean(latent.to(prediction.device).float(), prediction.float(), timestep)

    def predict_noise(self, latent: torch.Tensor, prediction: torch.Tensor, timestep: int) -> torch.Tensor:
        """The noise that a prediction at `timestep` stands for, float32 B c h w."""
        return self.schedule.noise(latent.to(prediction.device).float(), prediction.float(), timestep)

    @torch.no_grad()
    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Clean latent B c h w -> pixels B 3 H W in [-1, 1], float32."""
        shift = self.vae.config.get("shift_factor") or 0.0
        raw = (latent.float() / self.vae.config.scaling_factor + shift).to(self.device, self.dtype)
        return self.vae.decode(raw.to(memory_format=self._format)).sample.float().clamp(-1, 1)


def _own_weights(module: torch.nn.Module) -> None:
    """Copy weights that are still memory-mapped, so that the file does not stay in memory beside converted ones."""
    if next(module.parameters()).device.type == "cpu":
        for parameter in module.parameters():
            parameter.data = parameter.data.clone()


def _native(sample_size: Any, name: str) -> int:
    """The longer side, in cells of the latent, of what a UNet was trained on."""
    cells = max(sample_size) if isinstance(sample_size, (list, tuple)) else sample_size
    if not cells:
        raise BadInput(f"{name}: unet/config.json says no sample_size; write one there, such as 64 for 512 pixels")
    return int(cells)


def _schedule(scheduler: Any) -> Schedule:
    return Schedule.from_alphas_cumprod(scheduler.alphas_cumprod, scheduler.config.prediction_type)


def load_parts(folder: Path, dtype: torch.dtype | None = None) -> dict[str, Any]:
    """Load every part of a diffusers folder, safetensors only, nothing from the network.

    dtype  of the two large parts, so that they are never held in fp32 first

    Raises BadInput naming the part that is missing or broken.
    """
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    classes = dict(zip(PARTS, (UNet2DConditionModel, AutoencoderKL, CLIPTextModel, CLIPTokenizer, DDIMScheduler)))
    for part in PARTS:
        if not (folder / part).is_dir():
            remedy = fetch_again(folder, MODEL_FILES) or f"a complete one has {', '.join(PARTS)}"
            raise BadInput(f"{folder}: the model folder has no {part}/; {remedy}")
    weight_files = {part: _weights(folder / part) for part in NETWORKS}
    text = check_model(folder)
    parts: dict[str, Any] = {}
    for part, cls in classes.items():
        weights: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True} if part in NETWORKS else {}
        if dtype is not None and part in ("unet", "vae"):
            weights["torch_dtype"] = dtype
        if weights and weight_files[part].variant:
            weights["variant"] = weight_files[part].variant
        if part == "text_encoder":
            weights["config"] = CLIPTextConfig(**text)
        try:
            with construction(), silenced():
                loaded = cls.from_pretrained(folder / part, local_files_only=True, **weights)
        except Exception as error:  # the libraries raise many kinds; the user needs one line
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise BadInput(f"{folder / part}: cannot be loaded ({reason}); fetch or save the model again") from error
        parts[part], info = loaded if weights else (loaded, {})
        check_complete(info, folder / part)
        if part in NETWORKS:
            check_values(parts[part], folder / part)
    check_tokenizer(parts["tokenizer"], parts["text_encoder"], folder / "tokenizer")
    return parts


def digest_of_parts(folder: Path) -> Callable[[], str]:
    """Return a function that digests a diffusers folder: each part's settings, and the weights that are loaded.

    Call it before loading; its answer is "" where the files have changed since.
    """
    files: list[Path] = []
    for part in PARTS:
        files += sorted(file for file in (folder / part).glob("*") if file.suffix in (".json", ".txt"))
        with suppress(BadInput):  # loading reports what is wrong with the weights
            files += _weights(folder / part).files if part in NETWORKS else ()
    before = marks_of(files)
    names = {file.relative_to(folder).as_posix(): file for file in files}
    return lambda: digest_of_files(names) if marks_of(files) == before else ""


def _weights(folder: Path) -> Weights:
    stem = TRANSFORMERS if folder.name == "text_encoder" else DIFFUSERS
    return find_weights(folder, stem, MODEL_FILES)
