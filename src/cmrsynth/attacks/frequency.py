"""FCRE (re-implementation): the reconstruction error in the middle band of spatial frequencies.

Low frequencies are rebuilt for every image; high ones for none, and tell of the image's difficulty. The paper's time
steps, number of steps, SSIM window and fusion weights could not be checked against its full text or any program of
the authors, so this is a re-implementation from the abstract and second-hand descriptions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cmrsynth.attacks.denoiser import Denoiser
from cmrsynth.attacks.trajectories import reconstruct

if TYPE_CHECKING:
    from torch import Tensor

    from cmrsynth.attacks.noise import SharedNoise

SCORES = ("l2", "ssim", "z-sum", "logreg")


@dataclass(frozen=True)
class FCRE:
    """Frequency-calibrated reconstruction error; a re-implementation.

    The image is noised, rebuilt along the deterministic path, and compared with itself within a band of radial
    frequencies: minus the mean squared difference, and the SSIM of both after the filter.

    Args:
        step: time step of a 1000-step model to which the image is noised.
        ddim_steps: steps on the way back.
        band: lower and upper radius as shares of half the shorter side.
        draws: noise draws that are averaged.
        score: "l2", "ssim", or both: "z-sum" (standardised on calibration patients) or "logreg" (a logistic
            regression fitted on calibration patients); see `cmrsynth.attacks.fusion`.
        data_range: of the images, for SSIM.

    Raises:
        ValueError: an unknown score.

    Source: Zhao et al. 2025, arXiv:2506.14919.
    """

    step: int = 200
    ddim_steps: int = 10
    band: tuple[float, float] = (0.15, 0.85)
    draws: int = 4
    score: str = "l2"
    data_range: float = 2.0

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise ValueError(f"score: expected one of {SCORES}, got {self.score!r}; choose how both parts are used")

    @property
    def fusion(self) -> str:
        """How the columns of `features` become one score."""
        return self.score if self.score in ("z-sum", "logreg") else "mean"

    @property
    def made_with(self) -> str:
        """What the attack did, in a few words."""
        low, high = self.band
        return (
            f"FCRE (re-implementation, {self.score}): {self.ddim_steps} steps back from {self.step}, "
            f"band {low:g}-{high:g}, {self.draws} noise draws"
        )

    def features(self, denoiser: Denoiser, images: Tensor, noise: SharedNoise) -> Tensor:
        """Return (B, 1) or, where both parts are used, (B, 2) scores."""
        import torch

        mask = images.new_tensor(band_mask(*images.shape[-2:], self.band))
        parts = sum(
            self._parts(images, reconstruct(denoiser, images, noise.like(images, draw), self.step, self._stride), mask)
            for draw in range(self.draws)
        )
        columns = {"l2": [0], "ssim": [1]}.get(self.score, [0, 1])
        return parts[:, torch.tensor(columns, device=images.device)] / self.draws

    @property
    def _stride(self) -> int:
        return self.step // self.ddim_steps

    def _parts(self, images: Tensor, rebuilt: Tensor, mask: Tensor) -> Tensor:
        import torch
        from torchmetrics.functional.image import structural_similarity_index_measure as ssim

        error = band_pass(rebuilt - images, mask).square().flatten(1).mean(1)
        alike = ssim(band_pass(rebuilt, mask), band_pass(images, mask), data_range=self.data_range, reduction="none")
        return torch.stack([-error, alike], dim=1)


def band_mask(height: int, width: int, band: tuple[float, float]) -> np.ndarray:
    """Return the (H, W) 0/1 mask of radial frequencies within `band`, in the layout of an unshifted FFT.

    Radius 1 is the Nyquist frequency of the shorter side; corners go up to the square root of 2.

    >>> int(band_mask(8, 8, (0.0, 1.5)).sum())
    64
    """
    shorter = min(height, width)
    rows, columns = (np.fft.fftfreq(side) * side / (shorter / 2) for side in (height, width))
    radius = np.hypot(rows[:, None], columns[None, :])
    return ((radius >= band[0]) & (radius <= band[1])).astype(np.float64)


def band_pass(images: Tensor, mask: Tensor) -> Tensor:
    """Return the images (B, C, H, W) with only the frequencies of `band_mask` kept."""
    import torch

    return torch.fft.ifft2(torch.fft.fft2(images) * mask).real
