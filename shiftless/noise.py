"""Noise: what a timestep means, and the draws that each image gets; larger t is noisier, always."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from shiftless.errors import BadInput

PREDICTIONS = ("epsilon", "v_prediction", "sample", "flow")


@dataclass(frozen=True, eq=False)
class Schedule:
    """How much signal and noise each timestep holds: noisy = alpha(t) clean + sigma(t) noise.

    alphas      N values in [0, 1] that never rise: the share of the clean latent at timesteps 0 to N - 1
    sigmas      N values in [0, 1] that never fall: the share of the noise
    prediction  what the model predicts: "epsilon" the noise, "v_prediction" the velocity alpha noise - sigma clean
                (Salimans & Ho 2022), "sample" the clean latent, "flow" noise - clean (rectified flow, Liu et al. 2023)

    Raises BadInput for values that are not a schedule, and each method for a timestep outside it.

    >>> schedule = Schedule.from_betas(0.00085, 0.012, 1000)
    >>> schedule.sigma(50) < schedule.sigma(500)
    True
    """

    alphas: torch.Tensor
    sigmas: torch.Tensor
    prediction: str = "epsilon"

    def __post_init__(self) -> None:
        for name in ("alphas", "sigmas"):
            object.__setattr__(self, name, torch.as_tensor(getattr(self, name)).detach().cpu().double())
        if self.prediction not in PREDICTIONS:
            raise BadInput(f"prediction={self.prediction!r}: must be one of {', '.join(PREDICTIONS)}")
        if self.alphas.shape != self.sigmas.shape:
            raise BadInput(f"{len(self.alphas)} alphas and {len(self.sigmas)} sigmas; give one of each a timestep")
        for name, values, grows in (("alphas", self.alphas, -1), ("sigmas", self.sigmas, 1)):
            if values.ndim != 1 or not len(values) or not ((values >= 0) & (values <= 1)).all():
                raise BadInput(f"{name}: give a row of values, each in [0, 1]")
            wrong = grows * values.diff() < 0
            if wrong.any():
                t = int(wrong.float().argmax())
                how = "rise" if grows < 0 else "fall"
                raise BadInput(f"{name} {how} from timestep {t} to {t + 1}; a larger timestep must be noisier")

    @classmethod
    def from_alphas_cumprod(cls, values: torch.Tensor, prediction: str = "epsilon") -> Schedule:
        """Build a variance-preserving schedule, alpha^2 + sigma^2 = 1, from the squared alphas (DDPM, eq. 4).

        >>> schedule = Schedule.from_alphas_cumprod(torch.tensor([0.64]))
        >>> round(schedule.alpha(0), 6), round(schedule.sigma(0), 6)
        (0.8, 0.6)
        """
        squared = torch.as_tensor(values).detach().cpu().float().double()
        if not ((squared >= 0) & (squared <= 1)).all():
            raise BadInput("alphas_cumprod: give a row of values, each in [0, 1]")
        return cls(squared.sqrt(), (1 - squared).sqrt(), prediction)

    @classmethod
    def flow(cls, steps: int = 1000) -> Schedule:
        """Build the schedule of rectified flow: sigma = t / steps and alpha = 1 - sigma (Liu et al. 2023, eq. 1).

        A sampler's shift of its timesteps decides which of them it visits, and not how much noise one holds.

        >>> schedule = Schedule.flow()
        >>> schedule.alpha(250), schedule.sigma(250), schedule.prediction
        (0.75, 0.25, 'flow')
        """
        sigmas = torch.arange(steps, dtype=torch.float64) / steps
        return cls(1 - sigmas, sigmas, "flow")

    @classmethod
    def from_betas(
        cls, start: float, end: float, steps: int, kind: str = "scaled_linear", prediction: str = "epsilon"
    ) -> Schedule:
        """Build a schedule from its betas: "linear" (DDPM), or "scaled_linear" in their roots (latent diffusion).

        >>> len(Schedule.from_betas(0.0001, 0.02, 1000, kind="linear"))
        1000
        """
        if kind == "linear":
            betas = torch.linspace(start, end, steps)
        elif kind == "scaled_linear":
            betas = torch.linspace(start**0.5, end**0.5, steps) ** 2
        else:
            raise BadInput(f"kind={kind!r}: must be one of linear, scaled_linear")
        return cls.from_alphas_cumprod(torch.cumprod(1 - betas, dim=0), prediction)

    @classmethod
    def none(cls) -> Schedule:
        """Return the schedule of a model that takes no noise: at every timestep alpha is 1 and sigma 0.

        >>> Schedule.none().sigma(999)
        0.0
        """
        return cls(torch.ones(1000), torch.zeros(1000), "sample")

    def __len__(self) -> int:
        return len(self.alphas)

    @property
    def alphas_cumprod(self) -> torch.Tensor:
        """The squared alphas, N float32, as diffusers' schedulers of variance-preserving models hold them."""
        return (self.alphas**2).float()

    def betas(self) -> list[float]:
        """Return the betas that this schedule is the product of, as diffusers' schedulers take them.

        Raises BadInput for a schedule that is not variance-preserving, such as a flow's.

        >>> [round(beta, 6) for beta in Schedule.from_betas(0.1, 0.2, 2, kind="linear").betas()]
        [0.1, 0.2]
        """
        squared = self.alphas_cumprod.double()
        if not torch.allclose(squared + self.sigmas**2, torch.ones(len(self), dtype=torch.float64), atol=1e-6):
            raise BadInput(f"a {self.prediction} schedule has no betas: its alpha^2 + sigma^2 is not 1")
        previous = torch.cat([torch.ones(1, dtype=torch.float64), squared[:-1]])
        return (1 - squared / previous).tolist()

    def alpha(self, t: int) -> float:
        """Return how much of the clean latent is in a noisy one at timestep t."""
        return float(self.alphas[self.check(t)])

    def sigma(self, t: int) -> float:
        """Return how much noise is in a noisy latent at timestep t."""
        return float(self.sigmas[self.check(t)])

    def check(self, t: int) -> int:
        """Return a timestep as an int; raises BadInput for one that this schedule does not have.

        >>> Schedule.flow(10).check(10)
        Traceback (most recent call last):
        ...
        shiftless.errors.BadInput: timestep=10: give a whole number from 0 to 9 (larger is noisier)
        """
        return _timestep(t, len(self))

    def add(self, latent: torch.Tensor, noise: torch.Tensor, t: int) -> torch.Tensor:
        """Add noise to a clean latent, B C H W each: alpha clean + sigma noise (DDPM, eq. 4).

        >>> Schedule.none().add(torch.ones(1, 4, 2, 2), torch.randn(1, 4, 2, 2), 10).mean().item()
        1.0
        """
        return self.alpha(t) * latent + self.sigma(t) * noise

    def clean(self, latent: torch.Tensor, prediction: torch.Tensor, t: int) -> torch.Tensor:
        """Return the clean latent that the model's prediction stands for, B C H W.

        Raises BadInput where an epsilon says nothing of it: at a timestep of pure noise.

        >>> schedule = Schedule.from_betas(0.00085, 0.012, 1000)
        >>> clean, noise = torch.randn(2, 1, 4, 8, 8)
        >>> torch.allclose(schedule.clean(schedule.add(clean, noise, 500), noise, 500), clean, atol=1e-5)
        True
        """
        alpha, sigma = self.alpha(t), self.sigma(t)
        if self.prediction == "sample":
            return prediction
        if self.prediction == "v_prediction":
            return alpha * latent - sigma * prediction
        if self.prediction == "flow":
            return latent - sigma * prediction
        if alpha == 0:
            raise BadInput(f"timestep {t} is pure noise, where an epsilon model predicts no image; take a smaller one")
        return (latent - sigma * prediction) / alpha

    def noise(self, latent: torch.Tensor, prediction: torch.Tensor, t: int) -> torch.Tensor:
        """Return the noise that the model's prediction stands for, B C H W.

        Raises BadInput where a predicted sample says nothing of it: at a timestep without noise.
        """
        alpha, sigma = self.alpha(t), self.sigma(t)
        if self.prediction == "epsilon":
            return prediction
        if self.prediction == "v_prediction":
            return sigma * latent + alpha * prediction
        if self.prediction == "flow":
            return latent + alpha * prediction
        if sigma == 0:
            raise BadInput(f"timestep {t} has no noise to predict; take a larger one, or a model that takes noise")
        return (latent - alpha * prediction) / sigma

    def velocity(self, latent: torch.Tensor, noise: torch.Tensor, t: int) -> torch.Tensor:
        """Return v = alpha noise - sigma clean (Salimans & Ho 2022, appendix D), B C H W."""
        return self.alpha(t) * noise - self.sigma(t) * latent

    def target(self, clean: torch.Tensor, noise: torch.Tensor, t: int) -> torch.Tensor:
        """Return what the model should predict for a clean latent and its noise at timestep t, B C H W.

        >>> clean, noise = torch.zeros(1, 4, 2, 2), torch.ones(1, 4, 2, 2)
        >>> Schedule.flow().target(clean, noise, 500).mean().item()
        1.0
        """
        if self.prediction == "epsilon":
            return noise
        if self.prediction == "sample":
            return clean
        return noise - clean if self.prediction == "flow" else self.velocity(clean, noise, t)


def noise_for(digest: str, seed: int, member: int, shape: tuple[int, ...], stream: str = "diffusion") -> torch.Tensor:
    """Draw an image's own normal noise, C H W float32 on the CPU, independent of the batch it is read in.

    digest  of the image's pixels          seed    the recipe's
    member  which draw of the ensemble     stream  what it is for; "diffusion" and "posterior" are independent

    >>> one, two = (noise_for("ab12", seed=0, member=i, shape=(4, 8, 8)) for i in (0, 1))
    >>> torch.equal(one, noise_for("ab12", 0, 0, (4, 8, 8))), torch.equal(one, two)
    (True, False)
    """
    key = "\0".join((digest, str(operator.index(seed)), str(operator.index(member)), stream))
    # NumPy's generator takes all 128 bits of the digest; torch's on the CPU would keep 32 of them.
    bits = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=16).digest(), "big")
    generator = np.random.Generator(np.random.PCG64(bits))
    return torch.from_numpy(generator.standard_normal(tuple(shape), dtype=np.float32))


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Inside the `with`, torch's own generators of the CPU and of `device` start from a seed; then they are as before.

    For what draws from them and takes no generator: the initial weights of layers, dropout. Those of other devices are
    left alone, which `torch.manual_seed` does not do.

    >>> with seeded(3):
    ...     first = torch.rand(2)
    >>> with seeded(3):
    ...     print(torch.equal(first, torch.rand(2)))
    True
    """
    kind = "cpu" if device is None else device.type
    with torch.random.fork_rng(devices=[device] if kind == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if kind == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        if kind != "mps":
            yield
            return
        state = torch.mps.get_rng_state()
        torch.mps.manual_seed(seed)
        try:
            yield
        finally:
            torch.mps.set_rng_state(state)


def reference_timestep(t: int) -> int:
    """Return the timestep that the GDF and GATE codes run at for a requested t: one more, but 999 stays.

    Their PNDM scheduler lists 1000, 999, 999, 998, ... 1, one step off. Raises BadInput outside 0 to 999.

    >>> reference_timestep(50), reference_timestep(999)
    (51, 999)
    """
    return min(_timestep(t, 1000) + 1, 999)


def _timestep(t: int, steps: int) -> int:
    try:
        whole = operator.index(t)
    except TypeError:
        whole = -1
    if not 0 <= whole < steps:
        raise BadInput(f"timestep={t!r}: give a whole number from 0 to {steps - 1} (larger is noisier)")
    return whole
