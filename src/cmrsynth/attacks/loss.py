"""Attacks on the denoising error: a model predicts the noise on what it was trained on too well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cmrsynth.attacks.denoiser import Denoiser, add_noise, alpha_bar_at, alpha_bar_of_flow_time

if TYPE_CHECKING:
    from torch import Tensor

    from cmrsynth.attacks.noise import SharedNoise


@dataclass(frozen=True)
class Loss:
    """Minus the squared error of the predicted noise, averaged over noise draws, at some time steps.

    Args:
        draws: noise draws at each step; averaging lifts weak signals.
        steps: time steps of a 1000-step model.

    Source: Matsumoto et al. 2023, arXiv:2302.03262; Carlini et al. 2023, arXiv:2301.13188 (steps around 100).
    """

    draws: int = 10
    steps: tuple[int, ...] = (100, 200, 400)
    fusion: ClassVar[str] = "mean"

    @property
    def made_with(self) -> str:
        """What the attack did, in a few words."""
        return f"noise-prediction error at steps {', '.join(map(str, self.steps))} of 1000, {self.draws} noise draws"

    def features(self, denoiser: Denoiser, images: Tensor, noise: SharedNoise) -> Tensor:
        """Return (B, steps) scores."""
        levels = [alpha_bar_at(denoiser, step) for step in self.steps]
        return -noise_errors(denoiser, images, noise, self.draws, levels)


@dataclass(frozen=True)
class FlowLoss:
    """Minus the squared error of the velocity, averaged over noise draws, at some times of the straight path.

    For any denoiser: with the predicted noise e', the velocity is off by (e' - e) / (1 - t). The membership signal
    is bell-shaped along the path, with its peak near the middle; `features` has one column a time, so the curve
    comes with the score.

    Args:
        draws: noise draws at each time.
        times: times of the path, 0 the image, 1 noise.

    Source: Rao and Moyer 2026, arXiv:2603.13421; Sesmat et al. 2026, arXiv:2606.07271.
    """

    draws: int = 4
    times: tuple[float, ...] = (0.3, 0.5, 0.7)
    fusion: ClassVar[str] = "mean"

    @property
    def made_with(self) -> str:
        """What the attack did, in a few words."""
        return f"velocity error at t = {', '.join(f'{t:g}' for t in self.times)}, {self.draws} noise draws"

    def features(self, denoiser: Denoiser, images: Tensor, noise: SharedNoise) -> Tensor:
        """Return (B, times) scores."""
        levels = [alpha_bar_of_flow_time(t) for t in self.times]
        errors = noise_errors(denoiser, images, noise, self.draws, levels)
        return -errors / errors.new_tensor([(1 - t) ** 2 for t in self.times])


def noise_errors(denoiser: Denoiser, images: Tensor, noise: SharedNoise, draws: int, levels: list[float]) -> Tensor:
    """Return (B, levels) mean squared errors of the predicted noise, averaged over draws."""
    total = images.new_zeros(len(images), len(levels))
    for draw in range(draws):
        e = noise.like(images, draw)
        for column, alpha_bar in enumerate(levels):
            predicted = denoiser.predict_noise(add_noise(images, e, alpha_bar), alpha_bar)
            total[:, column] += (predicted - e).square().flatten(1).mean(1)
    return total / draws
