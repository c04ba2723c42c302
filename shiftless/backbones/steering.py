"""Steering: the ControlNets, LoRAs and captioner that a model has at hand, each loaded once and kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch

from shiftless.backbones.base import Backbone, steerable
from shiftless.backbones.fingerprinted import state_of_tensors
from shiftless.backbones.tiny_encoder import TinyEncoded
from shiftless.conditions.control import Control, digest_of_control, load_control
from shiftless.conditions.control_classes import class_of
from shiftless.conditions.control_maps import MAPS
from shiftless.conditions.image_prompt import (
    ImageAdapter,
    ImageInjection,
    digest_of_image_adapter,
    load_image_adapter,
)
from shiftless.conditions.learned_tokenizer import LearnedTokenizer
from shiftless.conditions.lora import Injection, prepared
from shiftless.conditions.lora_file import digest_of_lora
from shiftless.conditions.textual_inversion import LearnedWord, check_fit, read_word
from shiftless.errors import BadInput
from shiftless.progress import detail
from shiftless.taps.lock import construction, exclusive

if TYPE_CHECKING:
    from shiftless.conditions.captioner import Captioner


_INJECTIONS_KEPT = 4  # GATE's readings take two LoRAs in turn


class Steering(TinyEncoded):
    """What steers a model, for adapters of diffusion models to derive from.

    home           the model's folder, where its own ControlNets, LoRAs and captioner lie, or None
    _own_controls  controls known for the model: name -> folder, hub id, or a function that makes one
    _controls      those that are loaded: name -> (digest of its contents, the control)
    _loras         the LoRAs injected now: (digest of its contents, scale)
    _injections    those made ready: (LoRAs, state of the networks' weights) -> what is put in place
    _bare          the networks' tensors while LoRAs or image prompts are in place
    _own_images    IP-Adapters known for the model: name -> file, or a function that makes one
    _images        those that are loaded: name -> (digest of its contents, the IP-Adapter)
    _words         the learned words that prompts may name now
    _spoken_last   the learned words that tokenizers were last made for, and those tokenizers
    _image_layers  those that acted last, made ready: the IP-Adapters and what is put in place
    """

    dtype: torch.dtype
    DENOISER: ClassVar[str]
    home: Path | None
    _stride: int
    _own_controls: Mapping[str, Any]
    _controls: dict[str, tuple[str, Control]]
    _captioners: dict[str, Captioner]
    _loras: tuple[tuple[str, float], ...]
    _injections: OrderedDict[Any, Injection]
    _bare: dict[str, tuple[torch.Tensor, ...]] | None
    _own_images: Mapping[str, Any]
    _images: dict[str, tuple[str, ImageAdapter]]
    _words: tuple[LearnedWord, ...]
    _spoken_last: tuple[tuple[str, ...], tuple[Any, ...]]
    tokenizers: dict[str, Any]
    _image_layers: tuple[list[ImageAdapter], ImageInjection] | None

    def place(self, device: torch.device, offload: str = "", quantise: str = "") -> None:
        """Put the model on a device, as `Placed` says."""
        if quantise:  # a twin's ControlNets are made of its denoiser's weights as they were
            made = {kind: make() for kind, make in self._own_controls.items() if callable(make)}
            self._own_controls = {**self._own_controls, **{kind: partial(dict.get, made, kind) for kind in made}}
        super().place(device, offload, quantise)

    def _tensors(self, part: str) -> tuple[torch.Tensor, ...]:
        """The tensors of one network, without LoRAs that are injected now."""
        if self._bare is not None:
            return self._bare[part]
        return tuple(self._weights(self.networks[part]))

    def _steered(self) -> dict[str, Any]:
        """The denoiser and the text encoders, in the order in which they are locked."""
        return {part: self.networks[part] for part in (self.DENOISER, *self.TEXT_ENCODERS)}

    def control(self, name: str) -> Control:
        """The control that a recipe names: the model's own by its name, or from a folder; loaded once and kept."""
        with exclusive(self.networks[self.DENOISER]), construction():
            digest = self.digest("control", name)
            if name not in self._controls or self._controls[name][0] != digest:
                place: dict[str, Any] = {"stride": self._stride, "device": self.device, "dtype": self.dtype}
                place["encode"] = self.encode_map
                place["loaded"] = [one for _, one in self._controls.values()]
                net = load_control(name, self._own_controls, self.networks[self.DENOISER], **place)
                self._controls[name] = digest, net
                self._loaded(f"{class_of(net.net).A.partition(' ')[2]} {name}")
            return self._controls[name][1]

    def digest(self, technique: str, name: str) -> str:
        """Return the digest of what a recipe names: a technique, or "captioner"."""
        if technique == "lora":
            return digest_of_lora(self._lora_file(name))
        if technique == "control":
            return digest_of_control(name, self._own_controls)
        if technique == "image_prompt":
            return digest_of_image_adapter(name, self._own_images)
        if technique == "textual_inversion":
            return read_word(name).digest
        if technique == "encoder":
            return self.digest_of_tiny(name)
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
        steerable(cast(Backbone, self), "lora")
        with exclusive(*self._steered().values()):  # other threads wait: LoRAs change the model for every reader
            if self._loras:
                raise ValueError("LoRAs are in place already; give them all at once")
            digests = tuple((digest_of_lora(file), scale) for file, scale in files)
            self._rest()
            self._bare = {part: self._tensors(part) for part in self.networks}
            try:
                with self._injection(digests, files).in_place():
                    self._loras = digests
                    yield
            finally:
                self._loras, self._bare = (), None

    def _injection(self, digests: tuple[tuple[str, float], ...], files: Sequence[tuple[str, float]]) -> Injection:
        """The LoRAs made ready for the networks as they are now; the latest few are kept."""
        steered = self._steered()
        key = digests, state_of_tensors(tensor for part in steered for tensor in self._tensors(part))
        if key not in self._injections:
            self._injections[key] = prepared(steered, files)
            if len(self._injections) > _INJECTIONS_KEPT:
                self._injections.popitem(last=False)
        self._injections.move_to_end(key)
        return self._injections[key]

    def image_prompt(self, name: str) -> ImageAdapter:
        """The IP-Adapter that a recipe names: one that is known for the model, or a file; loaded once and kept."""
        with exclusive(self.networks[self.DENOISER]), construction():
            digest = self.digest("image_prompt", name)
            if name not in self._images or self._images[name][0] != digest:
                width = int(self.networks[self.DENOISER].config.cross_attention_dim)
                place: dict[str, Any] = {"width": width, "device": self.device, "dtype": self.dtype}
                self._images[name] = digest, load_image_adapter(name, self._own_images, **place)
                self._loaded(f"IP-Adapter {name}")
            return self._images[name][1]

    @contextmanager
    def image_prompted(self, adapters: Sequence[tuple[str, float]]) -> Iterator[None]:
        """Inside this `with`, IP-Adapters act on the denoiser, each with its scale."""
        scales = [scale for _, scale in adapters]
        if not scales:
            yield
            return
        with exclusive(self.networks[self.DENOISER]):  # other threads wait: the denoiser is changed for every reader
            self._rest()
            bare = self._bare
            self._bare = bare or {part: self._tensors(part) for part in self.networks}
            try:
                with self._image_injection([name for name, _ in adapters]).in_place(scales):
                    yield
            finally:
                self._bare = bare

    def _image_injection(self, names: Sequence[str]) -> ImageInjection:
        """The IP-Adapters made ready for the denoiser; those that acted last are kept."""
        adapters = [self.image_prompt(name) for name in names]
        if self._image_layers is None or self._image_layers[0] != adapters:
            self._image_layers = adapters, ImageInjection(self.networks[self.DENOISER], adapters)
        return self._image_layers[1]

    def image_prompts(self) -> list[str]:
        """The names of the IP-Adapters that are known for the model.

        >>> from shiftless.backbones.registry import load
        >>> load("twin:sd15").image_prompts()
        ['ip-adapter']
        """
        return sorted(self._own_images)

    def textual_inversion(self, name: str) -> LearnedWord:
        """The learned word that a recipe names; raises BadInput for one that the model's text encoders cannot take."""
        word = read_word(name)
        encoders = [self.networks[part] for part in self.TEXT_ENCODERS]
        check_fit(word, name, [int(one.get_input_embeddings().embedding_dim) for one in encoders])
        if any(word.token in tokenizer.get_vocab() for tokenizer in self.tokenizers.values()):
            raise BadInput(
                f"{name}: the model's own vocabulary holds {word.token!r}; give the learned word another name, as "
                f"'<{word.token}>={name}'"
            )
        return word

    @contextmanager
    def worded(self, names: Sequence[str]) -> Iterator[None]:
        """Inside this `with`, prompts may name learned words; networks and tokenizers are not changed."""
        words = tuple(self.textual_inversion(name) for name in names)
        tokens = [word.token.lower() for word in words]
        for i, token in enumerate(tokens):
            if token in tokens[:i]:
                both = f"{names[tokens.index(token)]} and {names[i]}"
                raise BadInput(f"{both}: both are called {words[i].token}; give one another name, as WORD=FILE")
        with exclusive(*(self.networks[part] for part in self.TEXT_ENCODERS)):  # for every reader, as LoRAs are
            before, self._words = self._words, words
            try:
                yield
            finally:
                self._words = before

    def _spoken(self) -> tuple[Any, ...]:
        """The tokenizer of each text encoder, with the learned words that prompts may name now."""
        plain = [self.tokenizers[part.replace("text_encoder", "tokenizer")] for part in self.TEXT_ENCODERS]
        if not self._words:
            return tuple(plain)
        key = tuple(word.digest for word in self._words)
        if self._spoken_last[0] != key:
            pairs = [[(word.token, word.vectors[i]) for word in self._words] for i in range(len(plain))]
            self._spoken_last = key, tuple(LearnedTokenizer(*one) for one in zip(plain, pairs))
        return self._spoken_last[1]

    def loras(self) -> list[str]:
        """The names of the LoRAs that lie in the model's folder.

        >>> from shiftless.backbones.registry import load
        >>> load("twin:sd15").loras()
        []
        """
        return [] if self.home is None else sorted(path.stem for path in (self.home / "loras").glob("*.safetensors"))

    def controls(self) -> list[str]:
        """The names of the controls that are known for the model: in its folder, or published for it.

        >>> from shiftless.backbones.registry import load
        >>> load("twin:sd15").controls()
        ['canny', 't2i-canny']
        """
        return sorted(self._own_controls, key=lambda name: (name not in MAPS, name))

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
