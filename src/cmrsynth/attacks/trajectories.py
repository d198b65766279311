"""Attacks along the deterministic path: SecMI and ReDiffuse."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from cmrsynth.attacks.denoiser import Denoiser, add_noise, alpha_bar_at, ddim_step

if TYPE_CHECKING:
    from torch import Tensor

    from cmrsynth.attacks.noise import SharedNoise


@dataclass(frozen=True)
class SecMI:
    """Invert the image along the deterministic path, go one step further and back: members come back closer.

    Args:
        last: the path is walked up to the last multiple of `stride` below this step (90 by default, as the authors'
            program does).
        stride: steps at a time.

    Source: Duan et al. 2023, arXiv:2302.01316 (the statistic without a network).
    """

    last: int = 100
    stride: int = 10
    fusion: ClassVar[str] = "mean"

    @property
    def made_with(self) -> str:
        """What the attack did, in a few words."""
        return f"SecMI: deterministic inversion to step {self.last - self.stride} in steps of {self.stride}"

    def features(self, denoiser: Denoiser, images: Tensor, noise: SharedNoise) -> Tensor:
        """Return (B, 1) scores; no noise is drawn."""
        levels = [alpha_bar_at(denoiser, step) for step in range(0, self.last + 1, self.stride)]
        point = images
        for now, then in pairwise(levels[:-1]):
            point = ddim_step(denoiser, point, now, then)
        there, further = levels[-2:]
        back = ddim_step(denoiser, ddim_step(denoiser, point, there, further), further, there)
        return -(point - back).square().flatten(1).mean(1, keepdim=True)


@dataclass(frozen=True)
class ReDiffuse:
    """Noise the image and denoise it again, several times: the mean of the variations of a member is closer to it.

    Needs no more than an image-variation service.

    Args:
        step: time step of a 1000-step model to which the image is noised.
        stride: steps at a time on the way back.
        draws: variations that are averaged.

    Source: Li et al. 2025, arXiv:2405.20771 (L1 distance).
    """

    step: int = 200
    stride: int = 100
    draws: int = 10
    fusion: ClassVar[str] = "mean"

    @property
    def made_with(self) -> str:
        """What the attack did, in a few words."""
        return f"ReDiffuse: mean of {self.draws} variations from step {self.step}, L1"

    def features(self, denoiser: Denoiser, images: Tensor, noise: SharedNoise) -> Tensor:
        """Return (B, 1) scores."""
        mean = sum(
            reconstruct(denoiser, images, noise.like(images, draw), self.step, self.stride)
            for draw in range(self.draws)
        )
        return -(mean / self.draws - images).abs().flatten(1).mean(1, keepdim=True)


def reconstruct(denoiser: Denoiser, images: Tensor, noise: Tensor, step: int, stride: int) -> Tensor:
    """Return the images noised to `step` and denoised along the deterministic path back to step 0."""
    steps = [*range(step, 0, -stride), 0]
    levels = [alpha_bar_at(denoiser, s) for s in steps]
    point = add_noise(images, noise, levels[0])
    for now, then in pairwise(levels):
        point = ddim_step(denoiser, point, now, then)
    return point
