"""VisionModel: what models that look at a picture itself share: no noise, no prompt, no prediction."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from shiftless.backbones.base import Reading, Spec
from shiftless.backbones.placed import Placed
from shiftless.backbones.vision_folder import (
    Preparation,
    checked_config,
    digest_of_vision,
    load_network,
    one_line,
    preparation,
    vision_config,
)
from shiftless.conditions.condition import Condition
from shiftless.conditions.config import read_config
from shiftless.digest import digest_of, digest_of_tensors
from shiftless.memory_format import memory_format
from shiftless.noise import Schedule, seeded
from shiftless.progress import detail
from shiftless.taps.hooks import tapped
from shiftless.taps.layout import Layout
from shiftless.taps.lock import construction, exclusive
from shiftless.taps.names import Tap


class VisionModel(Placed):
    """The adapter of one of transformers' vision models; `shiftless.backbones.base.Backbone` documents each method.

    Its latent is the picture: B 3 H W in [-1, 1]. It takes no noise and no text, so timestep, seed and condition
    change nothing; it predicts no picture, so its `Reading.prediction` is None.

    FAMILY  the name of the family
    KINDS   what config.json calls its models -> their class in transformers
    """

    FAMILY: ClassVar[str]
    KINDS: ClassVar[Mapping[str, str]]
    TECHNIQUES: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        name: str,
        network: Any,
        prepared: Preparation,
        device: torch.device,
        dtype: torch.dtype,
        *,
        size: int | None = None,
        made_of: Callable[[], str] | None = None,
        made_for: str = "",
    ) -> None:
        """Adapt a loaded network; `made_of` gives the digest of what its weights were made of, "" if unknown."""
        network = network.to(device=device, dtype=dtype).eval().requires_grad_(False)
        self.denoiser = network.to(memory_format=memory_format(device))
        self.networks = {"network": self.denoiser}
        self.prepared, self.device, self.dtype, self.schedule = prepared, device, dtype, Schedule.none()
        self.settings: dict[str, Any] = network.config.to_dict()
        self.taps = self.list_taps({"network": self.settings})
        self._tap_by_name = {tap.name: tap for tap in self.taps}
        native, made = size or self._native_size(), {"takes_text": False, "takes_noise": False, "made_for": made_for}
        self.spec = Spec(name, self.FAMILY, native, max(tap.stride for tap in self.taps), (3, 1), **made)  # type: ignore[arg-type]
        self._made_of_is(made_of)
        detail(f"{name}: {self.FAMILY}, loaded on {device} in {str(dtype).removeprefix('torch.')}")

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
        made_for: str = "",
    ) -> VisionModel:
        """Load a model from a transformers folder; raises BadInput naming what is missing or broken."""
        made_of = digest_of_vision(folder)
        settings = cls.read_configs(folder)["network"]
        with one_line(folder, "vision model"):
            network = load_network(folder, cls.class_of(settings), config=cls.config(settings), **cls.options(settings))
            prepared = preparation(folder, settings["model_type"])
        return cls(name, network, prepared, device, dtype, size=size, made_of=made_of, made_for=made_for)

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
    ) -> VisionModel:
        """Make a model with random weights from a row of models.json: tiny, or as large as the real one."""
        digest = digest_of("twin", dict(row), full, torch.__version__)
        normalised: dict[str, Any] = {key: tuple(row[key]) for key in ("mean", "std") if key in row}
        network, native = cls.twin_parts(row, full=full)["."], size or (row["size"] if full else None)
        prepared = Preparation(**normalised)
        return cls(name, network, prepared, device, dtype, size=native, made_of=lambda: digest)

    def untrained(self, seed: int = 0) -> VisionModel:
        """Return the same network with random weights: a benchmark's control."""
        network, settings = self._random(self.settings, seed), {"size": self.spec.size}
        digest = digest_of("untrained", self.fingerprint, seed, torch.__version__)
        name = f"untrained {self.spec.name}"
        made = type(self)(name, network, self.prepared, self.waits_on, self.dtype, made_of=lambda: digest, **settings)  # type: ignore[arg-type]
        made.place(self.device, self.offload, self.quantise)
        return made

    # ---- what a family says of itself

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether a transformers folder holds a model of this family, by what its config.json calls it."""
        path = folder / "config.json"
        return path.is_file() and read_config(path).get("model_type") in cls.KINDS

    @classmethod
    def read_configs(cls, folder: Path) -> dict[str, dict[str, Any]]:
        """Return the checked config of the folder's network, for `list_taps`."""
        checked_config(folder, "vision model")
        with one_line(folder, "vision model"):
            return {"network": vision_config(folder).to_dict()}

    @classmethod
    def class_of(cls, settings: Mapping[str, Any]) -> Any:
        """Return the class in transformers that a config is of."""
        import transformers

        return getattr(transformers, cls.KINDS[settings["model_type"]])

    @classmethod
    def config(cls, settings: Mapping[str, Any]) -> Any:
        """Return the config object that a network is built by."""
        values = {key: value for key, value in settings.items() if key not in ("model_type", "transformers_version")}
        return cls.class_of(settings).config_class(**values)

    @classmethod
    def options(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return further arguments of its class's constructor."""
        return {}

    @classmethod
    def _random(cls, settings: Mapping[str, Any], seed: int = 0) -> Any:
        with construction(), seeded(seed):
            return cls.class_of(settings)(cls.config(settings), **cls.options(settings))

    @classmethod
    @abstractmethod
    def list_taps(cls, configs: Mapping[str, Mapping[str, Any]]) -> tuple[Tap, ...]:
        """List the taps from the config of the network alone: {"network": config}."""

    @classmethod
    @abstractmethod
    def twin_parts(cls, row: Mapping[str, Any], *, full: bool = False) -> dict[str, Any]:
        """Build the network with random weights, tiny or in full size; "." since its folder holds it itself."""

    @abstractmethod
    def _native_size(self) -> int:
        """The side in pixels that the model was trained at, from its folder."""

    @abstractmethod
    def _look(self, pixels: torch.Tensor) -> None:
        """Call the network with normalised pixels B 3 H W."""

    def _layout(self, fed: tuple[int, int]) -> Layout:
        """How the network's tensors lie over an image of (h, w) pixels."""
        return Layout(fed)

    # ---- identity

    def _own_tensors(self) -> list[torch.Tensor]:
        return self._weights(self.denoiser)

    def _locked(self) -> Iterable[Any]:
        return [self.denoiser]

    def _digest(self) -> str:
        prepared = [self.prepared.mean, self.prepared.std]
        return digest_of(digest_of_tensors(self.denoiser.state_dict()), prepared)

    # ---- reading

    def encode_image(
        self, pixels: torch.Tensor, *, latent: str = "mean", noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        """B 3 H W in [-1, 1] -> the same pixels, float32: the latent of a model that looks at the picture itself.

        `latent` changes nothing; `noise` of (B times m) 3 H W repeats each image m times, as for other families.
        """
        pixels = pixels.to(self.device, torch.float32)
        return pixels if noise is None else pixels.repeat_interleave(len(noise) // len(pixels), 0)

    def encode_prompt(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None) -> Condition:
        """B texts -> an empty Condition: the model takes no text."""
        return Condition()

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
        """Look at the pixels and read `taps` on the way, B C H W each; stop after the last one unless `full`.

        Timestep and condition are ignored; the prediction is None always. Raises BadInput for a size that its grid
        cannot take.
        """
        self.spec.check_size((latent.shape[2], latent.shape[3]))
        pixels = self.prepared.normalise(latent.to(self.device, torch.float32) / 2 + 0.5)
        pixels = pixels.to(self.dtype, memory_format=memory_format(self.device))
        layout, stop = self._layout((pixels.shape[2], pixels.shape[3])), bool(taps) and not full
        options: dict[str, Any] = {"layout": layout, "by_name": self._tap_by_name, "stop": stop}
        with exclusive(self.denoiser), self._turn(self.denoiser), tapped(self.denoiser, taps, **options) as captured:
            self._look(pixels)
        return Reading(captured.maps(), None)

    def predict_clean(self, latent: torch.Tensor, prediction: torch.Tensor, timestep: int) -> torch.Tensor:
        """The clean latent that a prediction stands for, B 3 H W; the model itself makes none."""
        return self.schedule.clean(latent, prediction, timestep)

    def predict_noise(self, latent: torch.Tensor, prediction: torch.Tensor, timestep: int) -> torch.Tensor:
        """Raise BadInput: there is no noise in a latent of this family."""
        return self.schedule.noise(latent, prediction, timestep)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """B 3 H W -> the same pixels, clamped to [-1, 1], float32."""
        return latent.float().clamp(-1, 1)
