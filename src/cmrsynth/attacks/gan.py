"""Attacks on GANs: the discriminator (LOGAN), and the search of the latent space (GAN-Leaks).

The attack that needs samples only (full black box) is in `cmrsynth.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_LATENTS = 34  # random stream


def logan(discriminator: Callable[[Tensor], Tensor], images: Tensor, *, batch: int = 64) -> np.ndarray:
    """Return (N,) outputs of the discriminator: it takes the images it was trained on for more real.

    White box with the victim's discriminator; black box with that of a GAN trained on the victim's samples. Keep
    discriminators for the audit only and never publish them.

    Args:
        discriminator: of (B, C, H, W); returns one number per image.
        images: (N, C, H, W) in [-1, 1].
        batch: images at a time.

    Source: Hayes et al. 2019, arXiv:1705.07663.
    """
    import torch

    with torch.inference_mode():
        parts = [discriminator(part).reshape(len(part), -1).double().mean(1) for part in images.split(batch)]
    return torch.cat(parts).cpu().numpy()


@dataclass(frozen=True)
class GanLeaks:
    """Minus the distance of an image to the nearest one the generator can make, found by optimising z.

    Args:
        latent_dim: of z, standard normal.
        gradients: True is the white-box attack (L-BFGS); False the partial black box, which may choose z but sees no
            gradients (Powell).
        restarts: starting points, the same for all images; the best counts.
        iterations: of the optimiser, for each start.
        prior_weight: weight of (mean z^2 - 1)^2, which keeps z where the generator was trained.
        seed: names the starting points.

    Source: Chen et al. 2020, arXiv:1909.03935; without its perceptual term.
    """

    latent_dim: int
    gradients: bool = True
    restarts: int = 4
    iterations: int = 50
    prior_weight: float = 1e-3
    seed: int = 0

    def scores(self, generator: Callable[[Tensor], Tensor], images: Tensor) -> np.ndarray:
        """Return (N,) scores.

        Args:
            generator: of z (B, latent_dim); returns (B, C, H, W).
            images: (N, C, H, W).
        """
        from rich.progress import track

        starts = np.random.default_rng([self.seed, _LATENTS]).standard_normal((self.restarts, self.latent_dim))
        search = self._by_gradient if self.gradients else self._by_powell
        rows = track(images, description="Searching the latent space", transient=True)
        return np.array([-min(search(generator, image[None], start) for start in starts) for image in rows])

    def _objective(self, generator: Callable[[Tensor], Tensor], image: Tensor, z: Tensor) -> Tensor:
        distance = (generator(z) - image).square().mean()
        return distance + self.prior_weight * (z.square().mean() - 1).square()

    def _by_gradient(self, generator: Callable[[Tensor], Tensor], image: Tensor, start: np.ndarray) -> float:
        import torch

        z = image.new_tensor(start)[None].requires_grad_()
        optimiser = torch.optim.LBFGS([z], max_iter=self.iterations, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            value = self._objective(generator, image, z)
            value.backward()
            return value

        optimiser.step(closure)
        with torch.no_grad():
            return float(self._objective(generator, image, z))

    def _by_powell(self, generator: Callable[[Tensor], Tensor], image: Tensor, start: np.ndarray) -> float:
        import torch
        from scipy.optimize import minimize

        with torch.inference_mode():
            found = minimize(
                lambda z: float(self._objective(generator, image, image.new_tensor(z)[None])),
                start,
                method="Powell",
                options={"maxiter": self.iterations},
            )
        return float(found.fun)
