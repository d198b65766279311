"""Attacks on the denoising error: a model predicts the noise on what it was trained on too well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cmrsynth.attacks.denoiser import Denoiser, FlowDenoiser, add_noise, alpha_bar_at, alpha_bar_of_flow_time

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


@dataclass(frozen=True)
class JumpLoss:
    """Minus the squared error of the average velocity with which a flow map jumps to the image, over noise draws.

    A flow map that was distilled for few steps samples by its average velocity u over long steps, and the velocity
    itself may tell less about whom it knows. From x_t = (1 - t) x + t e it jumps to x_t - t u(x_t, t, 0), which misses
    the image x by t (u - (e - x)): the score is the square of this error over t^2. At t = 1 nothing of the image is
    left in x_t, and the jump is a sample of one step under the image's own conditions.

    Args:
        draws: noise draws at each time.
        times: times of the path from which the flow map jumps.

    Source: the average velocity after Geng et al. 2025, arXiv:2505.13447; its error as a score is ours, after the
    velocity's error of Rao and Moyer 2026, arXiv:2603.13421.
    """

    draws: int = 4
    times: tuple[float, ...] = (0.5, 0.75, 1.0)
    fusion: ClassVar[str] = "mean"

    @property
    def made_with(self) -> str:
        """What the attack did, in a few words."""
        return f"error of one jump to the image from t = {', '.join(f'{t:g}' for t in self.times)}, {self.draws} draws"

    def features(self, denoiser: FlowDenoiser, images: Tensor, noise: SharedNoise) -> Tensor:
        """Return (B, times) scores."""
        total = images.new_zeros(len(images), len(self.times))
        for draw in range(self.draws):
            e = noise.like(images, draw)
            for column, t in enumerate(self.times):
                error = denoiser.average_velocity((1 - t) * images + t * e, t) - (e - images)
                total[:, column] += error.square().flatten(1).mean(1)
        return -total / self.draws


def noise_errors(denoiser: Denoiser, images: Tensor, noise: SharedNoise, draws: int, levels: list[float]) -> Tensor:
    """Return (B, levels) mean squared errors of the predicted noise, averaged over draws."""
    total = images.new_zeros(len(images), len(levels))
    for draw in range(draws):
        e = noise.like(images, draw)
        for column, alpha_bar in enumerate(levels):
            predicted = denoiser.predict_noise(add_noise(images, e, alpha_bar), alpha_bar)
            total[:, column] += (predicted - e).square().flatten(1).mean(1)
    return total / draws
