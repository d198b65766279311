"""Attacks of few queries on the noise a model predicts for the image itself: PIA, PIAN, SimA."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cmrsynth.attacks.denoiser import Denoiser, add_noise, alpha_bar_at

if TYPE_CHECKING:
    from torch import Tensor

    from cmrsynth.attacks.noise import SharedNoise


@dataclass(frozen=True)
class PIA:
    """Proximal initialisation: the noise predicted at step 0 is put on the image and predicted again.

    The score is minus the mean of |e_0 - e_t|^p, which ranks images of one size like the sum of the paper.

    Args:
        step: time step of a 1000-step model of the second query.
        power: p.
        normalised: scale e_0 to the mean modulus of Gaussian noise first (PIAN).

    Source: Kong et al. 2024, arXiv:2305.18355.
    """

    step: int = 200
    power: int = 4
    normalised: bool = False
    fusion: ClassVar[str] = "mean"

    @property
    def made_with(self) -> str:
        """What the attack did, in a few words."""
        return (
            f"{'PIAN' if self.normalised else 'PIA'}: two noise predictions, steps 0 and {self.step}, p = {self.power}"
        )

    def features(self, denoiser: Denoiser, images: Tensor, noise: SharedNoise) -> Tensor:
        """Return (B, 1) scores; no noise is drawn."""
        first = denoiser.predict_noise(images, alpha_bar_at(denoiser, 0))
        if self.normalised:
            modulus = first.abs().flatten(1).mean(1).clamp(min=1e-12)[:, None, None, None]
            first = first * math.sqrt(2 / math.pi) / modulus
        level = alpha_bar_at(denoiser, self.step)
        second = denoiser.predict_noise(add_noise(images, first, level), level)
        return -(first - second).abs().pow(self.power).flatten(1).mean(1, keepdim=True)


@dataclass(frozen=True)
class SimA:
    """One query: minus the mean p-th power of the noise predicted for the clean image.

    Args:
        step: time step of a 1000-step model that the network is told.
        power: p.

    Source: Rao et al. 2025, arXiv:2509.25003.
    """

    step: int = 100
    power: int = 4
    fusion: ClassVar[str] = "mean"

    @property
    def made_with(self) -> str:
        """What the attack did, in a few words."""
        return f"SimA: one noise prediction for the clean image at step {self.step}, p = {self.power}"

    def features(self, denoiser: Denoiser, images: Tensor, noise: SharedNoise) -> Tensor:
        """Return (B, 1) scores; no noise is drawn."""
        predicted = denoiser.predict_noise(images, alpha_bar_at(denoiser, self.step))
        return -predicted.abs().pow(self.power).flatten(1).mean(1, keepdim=True)
