"""LatentModel: what all diffusion models share: a denoiser, an autoencoder, text encoders, adapters, a fingerprint."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from shiftless.backbones.base import Reading, Spec
from shiftless.backbones.fingerprinted import state_of_tensors
from shiftless.backbones.parts import (
    check_configs,
    check_there,
    digest_of_parts,
    load_parts,
    named_class,
    place_of,
    schedule_of,
)
from shiftless.backbones.placed import converted, own_weights
from shiftless.backbones.random_parts import anew
from shiftless.backbones.steering import Steering
from shiftless.backbones.tiny_encoder import TAESD, twin_encoder
from shiftless.conditions.condition import Condition, join
from shiftless.conditions.config import read_config
from shiftless.conditions.control import own_controls
from shiftless.conditions.image_prompt import own_images
from shiftless.conditions.silence import silenced
from shiftless.digest import digest_of, digest_of_tensors
from shiftless.errors import BadInput
from shiftless.memory_format import memory_format
from shiftless.noise import seeded
from shiftless.progress import detail
from shiftless.taps.hooks import tapped
from shiftless.taps.layout import Layout
from shiftless.taps.lock import construction, exclusive
from shiftless.taps.names import Tap

_PROMPTS_KEPT = 256


class LatentModel(Steering):
    """The adapter of a diffusion model; `shiftless.backbones.base.Backbone` documents each method.

    A family derives from it, names its parts, and says how its network is called. docs/add-a-family.md walks through
    one. What encodes images is in `Autoencoded`.

    FAMILY         the name of the family
    PARTS          part of the model's folder -> its class, as "library:Class"
    DENOISER       the part that denoises
    TEXT_ENCODERS  the parts that encode prompts; none for a model that takes no text
    TECHNIQUES     what may steer it, as in `Spec.techniques`
    TAKES_NOISE    whether noise is added before reading
    LAYOUT         how its tensors lie over the image
    """

    FAMILY: ClassVar[str]
    PARTS: ClassVar[Mapping[str, str]]
    DENOISER: ClassVar[str] = "transformer"
    TEXT_ENCODERS: ClassVar[tuple[str, ...]] = ("text_encoder",)
    TECHNIQUES: ClassVar[tuple[str, ...]] = ("prompt", "start")
    TAKES_NOISE: ClassVar[bool] = True
    LAYOUT: ClassVar[type[Layout]] = Layout

    def __init__(
        self,
        name: str,
        parts: Mapping[str, Any],
        size: int | None,
        device: torch.device,
        dtype: torch.dtype,
        *,
        home: Path | None = None,
        controls: Mapping[str, Any] | None = None,
        images: Mapping[str, Any] | None = None,
        made_of: Callable[[], str] | None = None,
        made_for: str = "",
    ) -> None:
        """Adapt loaded parts; `home` is their folder, `controls` the ControlNets elsewhere: kind -> hub id or maker.

        images   IP-Adapters that are known for the model: name -> file, or a function that makes one

        made_of  gives the digest of what the weights were made of (their files, or a seed), which does not depend on
                 the dtype that they were loaded in; "" or no function lets the parameters themselves be digested
        """
        self.networks: dict[str, Any] = {}
        self.device, self.dtype = device, dtype
        self._format = memory_format(device) if self.CHANNELS_LAST else torch.contiguous_format
        with silenced():
            for part in filter(None, (self.DENOISER, self.AUTOENCODER, *self.TEXT_ENCODERS)):
                network = converted(parts[part], device, dtype).eval().requires_grad_(False)
                if part not in self.TEXT_ENCODERS:
                    network.to(memory_format=self._format)
                own_weights(network)
                self.networks[part] = network
        self.tokenizers = {part: parts[part] for part in parts if part.startswith("tokenizer")}
        self._scheduler, self.schedule = parts["scheduler"], schedule_of(parts["scheduler"])
        self.taps = self.list_taps({part: network.config for part, network in self.networks.items()})
        self._tap_by_name = {tap.name: tap for tap in self.taps}
        channels, self._stride = self._latent()
        self.spec = Spec(
            name,
            self.FAMILY,
            size or self._native_size(name),
            self._multiple(),
            (channels, self._stride),
            takes_text="prompt" in self.TECHNIQUES,
            takes_noise=self.TAKES_NOISE,
            techniques=self._techniques(),
            made_for=made_for,
        )
        detail(f"{name}: {self.spec.family}, loaded on {device} in {str(dtype).removeprefix('torch.')}")
        self.home = home
        self._own_controls = {**(controls or {}), **(own_controls(home) if home is not None else {})}
        self._controls, self._captioners, self._loras, self._images = {}, {}, (), {}
        self._own_images = {**(images or {}), **(own_images(home) if home is not None else {})}
        self._own_tinies, self._tinies = {}, {}
        self._words, self._spoken_last = (), ((), ())
        self._injections, self._image_layers = OrderedDict(), None
        self._prompts: OrderedDict[tuple[Any, ...], Condition] = OrderedDict()
        self._bare = None
        self._made_of_is(made_of)

    @classmethod
    def from_folder(
        cls,
        name: str,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype,
        *,
        size: int | None = None,
        controls: Mapping[str, Any] | None = None,
        images: Mapping[str, Any] | None = None,
        made_for: str = "",
    ) -> LatentModel:
        """Load a model from its diffusers folder; raises BadInput naming the part that is missing or broken."""
        made_of, parts = digest_of_parts(folder, cls.PARTS), cls.read_parts(folder, dtype)
        options: dict[str, Any] = {"home": folder, "controls": controls, "images": images}
        return cls(name, parts, size, device, dtype, made_of=made_of, made_for=made_for, **options)

    @classmethod
    def from_twin(
        cls,
        name: str,
        row: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype,
        *,
        full: bool,
        size: int | None,
    ) -> LatentModel:
        """Make a model with random weights from a row of models.json: tiny, or as large as the real one."""
        parts = cls.twin_parts(row, full=full)
        digest = digest_of("twin", dict(row), full, torch.__version__)  # random weights, from one seed
        native = size or (row["size"] if full else None)
        steering: dict[str, Any] = {"controls": cls.twin_controls(parts), "images": cls.twin_images(parts)}
        made = cls(name, parts, native, device, dtype, made_of=lambda: digest, **steering)
        made._own_tinies = {TAESD: partial(twin_encoder, *made.spec.latent)}
        return made

    def untrained(self, seed: int = 0) -> LatentModel:
        """Return the same networks with random weights and the same autoencoder: a benchmark's control."""
        with construction(), seeded(seed):
            parts = {part: anew(network) for part, network in self._steered().items()}
        name = f"untrained {self.spec.name}"
        kept = {part: self.networks[part] for part in self.networks if part not in parts}
        whole = {**parts, **kept, **self.tokenizers, "scheduler": self._scheduler}

        def digest() -> str:
            return digest_of("untrained", self.fingerprint, seed, torch.__version__)

        with self._turn():
            made = type(self)(name, whole, self.spec.size, self.waits_on, self.dtype, made_of=digest)
            made.place(self.device, self.offload, self.quantise)
        return made

    # ---- what a family says of itself

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether a diffusers folder holds a model of this family, by the class of its denoiser."""
        path = place_of(folder, cls.DENOISER) / "config.json"
        named = named_class(read_config(path)) if path.is_file() else ""
        return bool(named == cls.PARTS[cls.DENOISER].partition(":")[2])

    @classmethod
    def read_configs(cls, folder: Path) -> Mapping[str, Mapping[str, Any]]:
        """Return the checked configs of a folder's networks, for `list_taps`: part -> config."""
        return check_configs(folder, cls.PARTS)

    @classmethod
    def read_parts(cls, folder: Path, dtype: torch.dtype | None = None) -> dict[str, Any]:
        """Load and check every part of a folder; raises BadInput naming the part that is missing or broken."""
        check_there(folder, cls.PARTS)
        cls.read_configs(folder)
        return load_parts(folder, cls.PARTS, dtype)

    @classmethod
    @abstractmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build every part with random weights from a row of models.json, tiny or in full size."""

    @classmethod
    def twin_controls(cls, parts: Mapping[str, Any]) -> dict[str, Any]:
        """The ControlNets of a twin: kind -> a function that makes one."""
        return {}

    @classmethod
    def twin_images(cls, parts: Mapping[str, Any]) -> dict[str, Any]:
        """The IP-Adapters of a twin: name -> a function that makes one."""
        return {}

    @classmethod
    @abstractmethod
    def list_taps(cls, configs: Mapping[str, Mapping[str, Any]]) -> tuple[Tap, ...]:
        """List the taps from the configs of the parts alone: part -> config."""

    @abstractmethod
    def _encode(self, prompt: str) -> Condition:
        """Encode one prompt, embeds 1 T D."""

    @abstractmethod
    def _predict(self, latent: torch.Tensor, timestep: int, condition: Condition) -> torch.Tensor:
        """Call the denoiser; return its prediction B c h w."""

    @abstractmethod
    def _native_size(self, name: str) -> int:
        """The longer side in pixels that the model was trained at, from its configs; `name` is for messages."""

    def _techniques(self) -> tuple[str, ...]:
        """What may steer the model, where its configs say more than its family does."""
        return self.TECHNIQUES

    def _multiple(self) -> int:
        """What every side fed must be a multiple of, in pixels."""
        return max(tap.stride for tap in self.taps)

    def _sized(self, condition: Condition, size: tuple[int, int]) -> Condition:
        """A prompt's condition for an image of (h, w) pixels, for families that are told the size."""
        return condition

    def _layout(self, fed: tuple[int, int], condition: Condition) -> Layout:
        """How the tensors of a call for images of (h, w) pixels lie over them; by default the condition is ignored."""
        return self.LAYOUT(fed)

    @property
    def denoiser(self) -> Any:
        """The network that denoises, an unmodified class of diffusers."""
        return self.networks[self.DENOISER]

    @property
    def scheduler(self) -> Any:
        """The scheduler that it was loaded with, of diffusers."""
        return self._scheduler

    # ---- identity

    def _own_tensors(self) -> list[torch.Tensor]:
        return [tensor for part in self.networks for tensor in self._tensors(part)]

    def _locked(self) -> Iterable[Any]:
        return self._steered().values()

    def _digest(self) -> str:
        tensors = {
            f"{part}.{name}": tensor
            for part, network in self.networks.items()
            for name, tensor in network.state_dict().items()
        }
        levels = [self.schedule.alphas.tolist(), self.schedule.sigmas.tolist()]
        vocabularies = [tokenizer.get_vocab() for tokenizer in self.tokenizers.values()]
        return digest_of(digest_of_tensors(tensors), [self.schedule.prediction, levels, vocabularies])

    # ---- prompts

    @torch.no_grad()
    def encode_prompt(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None) -> Condition:
        """B texts -> embeds B T D; each text is encoded once and kept. Texts of one call need equal T.

        size  (h, w) in pixels of the images, for families that are told it; the model's own by default
        """
        hw = size or (self.spec.size, self.spec.size)
        conditions = [self._sized(self._encode_one(prompt), hw) for prompt in prompts]
        lengths = {c.embeds.shape[1] for c in conditions if c.embeds is not None}
        if len(lengths) > 1:
            raise ValueError(f"prompts of {sorted(lengths)} tokens cannot share a batch; encode them apart")
        return join(conditions)

    def _encode_one(self, prompt: str) -> Condition:
        with exclusive(*(self.networks[part] for part in self.TEXT_ENCODERS)):
            state = state_of_tensors(tensor for part in self.TEXT_ENCODERS for tensor in self._tensors(part))
            key = (state, self._loras, tuple(word.digest for word in self._words), prompt)  # a LoRA may change it too
            if key not in self._prompts:
                with self._turn(*(self.networks[part] for part in self.TEXT_ENCODERS)):
                    self._prompts[key] = self._encode(prompt)
                if len(self._prompts) > _PROMPTS_KEPT:
                    self._prompts.popitem(last=False)
            self._prompts.move_to_end(key)
            return self._prompts[key]

    # ---- denoising

    def denoise(
        self,
        latent: torch.Tensor,
        timestep: int,
        condition: Condition,
        taps: Sequence[Tap] = (),
        *,
        full: bool = False,
    ) -> Reading:
        """Run the denoiser at `timestep` and read `taps` on the way, B C H W each; stop after the last one.

        Raises BadInput for a timestep that its schedule does not have, and for a size that its grid cannot take.
        """
        with torch.no_grad():
            return self._read(latent, timestep, condition, taps, full)

    def denoise_with_grad(
        self,
        latent: torch.Tensor,
        timestep: int,
        condition: Condition,
        taps: Sequence[Tap] = (),
        *,
        full: bool = False,
    ) -> Reading:
        """Do what `denoise` does, and keep the graph: gradients reach the denoiser's weights, prompt and latent.

        Which weights learn is said by their own `requires_grad`. Raises BadInput as `denoise` does, and for a model
        that is offloaded or quantised, whose weights at work are not those that would learn.
        """
        if self.offload or self.quantise:
            raise BadInput(
                f"{self.spec.name}: a model that is offloaded or quantised cannot be trained through; load it without"
            )
        with torch.enable_grad():
            return self._read(latent, timestep, condition, taps, full)

    def _read(
        self, latent: torch.Tensor, timestep: int, condition: Condition, taps: Sequence[Tap], full: bool
    ) -> Reading:
        timestep = self.schedule.check(timestep)
        fed = (latent.shape[2] * self._stride, latent.shape[3] * self._stride)
        self._check_size(fed)
        latent = latent.to(self.device, self.dtype, memory_format=self._format)
        stop = bool(taps) and not full
        prediction: torch.Tensor | None = None
        layout = self._layout(fed, condition)
        words, by_name = condition.words, self._tap_by_name
        options: dict[str, Any] = {"layout": layout, "words": words, "by_name": by_name, "stop": stop}
        with exclusive(self.denoiser), self._turn(self.denoiser), tapped(self.denoiser, taps, **options) as captured:
            prediction = self._predict(latent, timestep, condition)
        return Reading(captured.maps(), None if captured.stopped else prediction)

    def predict_clean(self, latent: torch.Tensor, prediction: torch.Tensor, timestep: int) -> torch.Tensor:
        """The clean latent that a prediction at `timestep` stands for, float32 B c h w."""
        return self.schedule.clean(latent.to(prediction.device).float(), prediction.float(), timestep)

    def predict_noise(self, latent: torch.Tensor, prediction: torch.Tensor, timestep: int) -> torch.Tensor:
        """The noise that a prediction at `timestep` stands for, float32 B c h w."""
        return self.schedule.noise(latent.to(prediction.device).float(), prediction.float(), timestep)
