"""Generators whose leak is known exactly; nothing is trained.

Random fields with a known power spectrum have a known best denoiser, which knows no single one of them (the
control). The memoriser of a finite set knows all of them (the leaker). A mixture of both is a dial.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from cmrsynth.attacks.denoiser import Denoiser, alpha_bar_of_flow_time, linear_schedule
from cmrsynth.attacks.memoriser import Memoriser

if TYPE_CHECKING:
    from torch import Tensor

_FIELDS = 41  # random stream


def field_spectrum(side: int, slope: float = 2.5, variance: float = 1.0) -> np.ndarray:
    """Return the (side, side) power spectrum variance / (f + 1 / side)^slope, scaled to this pixel variance."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None, :])
    power = (frequency + 1 / side) ** -slope
    return variance * power / power.mean()


def random_fields(count: int, side: int, *, seed: int, slope: float = 2.5, variance: float = 1.0) -> np.ndarray:
    """Return (count, side, side) float32 Gaussian random fields of mean 0 with the spectrum of `field_spectrum`.

    >>> random_fields(200, 16, seed=0).std().round(1).item()
    1.0
    """
    white = np.random.default_rng([seed, _FIELDS]).standard_normal((count, side, side))
    coloured = np.fft.ifft2(np.fft.fft2(white) * np.sqrt(field_spectrum(side, slope, variance))).real
    return coloured.astype(np.float32)


class PopulationDenoiser:
    """The best denoiser for random fields of one spectrum: a Wiener filter, without any memory.

    Args:
        spectrum: (H, W) of `field_spectrum`, of the fields as the denoiser sees them.
        mean: of the fields.
    """

    def __init__(self, spectrum: np.ndarray, mean: float = 0.0) -> None:
        self.spectrum, self.mean = spectrum, mean

    def predict_noise(self, point: Tensor, alpha_bar: float) -> Tensor:
        """Return e, (B, 1, H, W), at the points x_t."""
        import torch

        spectrum = torch.as_tensor(self.spectrum, dtype=torch.float64, device=point.device)
        centred = point.double() - alpha_bar**0.5 * self.mean
        share = (1 - alpha_bar) ** 0.5 / (alpha_bar * spectrum + 1 - alpha_bar)
        return torch.fft.ifft2(torch.fft.fft2(centred) * share).real.to(point.dtype)


@dataclass(frozen=True)
class Mixture:
    """A denoiser that is a memoriser to some share and the population's for the rest.

    Args:
        memoriser: knows its training set.
        population: knows the distribution only.
        share: 0 leaks nothing, 1 everything.
    """

    memoriser: Denoiser
    population: Denoiser
    share: float

    def predict_noise(self, point: Tensor, alpha_bar: float) -> Tensor:
        """Return e, (B, 1, H, W), at the points x_t."""
        leak, control = (d.predict_noise(point, alpha_bar) for d in (self.memoriser, self.population))
        return self.share * leak + (1 - self.share) * control


def partial_memoriser(members: np.ndarray, spectrum: np.ndarray, share: float) -> Mixture:
    """Return the mixture for members (N, H, W), in the range in which the denoiser sees them."""
    import torch

    return Mixture(Memoriser(torch.from_numpy(members)[:, None]), PopulationDenoiser(spectrum), share)


@dataclass(frozen=True)
class DiffusionPipelineOf:
    """A denoiser that can be evaluated like a diffusion pipeline; it ignores all conditions."""

    denoiser: Denoiser

    @property
    def scheduler(self) -> SimpleNamespace:
        """The schedule of its steps."""
        return SimpleNamespace(alphas_cumprod=linear_schedule())

    def predict_noise(
        self, sample: Tensor, timestep: Tensor, mask: Tensor | None = None, **attributes: list[str | None]
    ) -> Tensor:
        """Return e, (B, 1, H, W), at points that all belong to one step."""
        return self.denoiser.predict_noise(sample, float(linear_schedule()[int(timestep[0])]))


@dataclass(frozen=True)
class FlowPipelineOf:
    """A denoiser that can be evaluated like a rectified-flow pipeline; it ignores all conditions."""

    denoiser: Denoiser

    def velocity(self, sample: Tensor, t: Tensor, mask: Tensor | None = None, **attributes: list[str | None]) -> Tensor:
        """Return noise - image, (B, 1, H, W), at points of the straight path, all at one time t < 1."""
        time = float(t[0])
        scale = ((1 - time) ** 2 + time**2) ** 0.5
        noise = self.denoiser.predict_noise(sample / scale, alpha_bar_of_flow_time(time))
        return (noise - sample) / (1 - time)
