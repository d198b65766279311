"""How near a generator comes to an image: among samples under the image's own conditions, and by searching its latents.

What these return are distances: attacks score their negative. Both run over many images at a time, so that a GAN
can be audited like any other generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Decode = Callable[["Tensor", np.ndarray], "Tensor"]  # of latents (B, L), and whose conditions hold: B rows of images
_LATENTS = 36  # random stream


def shared_latents(count: int, latent_dim: int, seed: int) -> Tensor:
    """Return (count, latent_dim) standard normal latents: every image under attack meets the same."""
    import torch

    drawn = np.random.default_rng([seed, _LATENTS]).standard_normal((count, latent_dim))
    return torch.from_numpy(drawn.astype(np.float32))


def sample_distances(
    decode: Decode, images: Tensor, latents: Tensor, groups: Sequence[np.ndarray], *, batch: int = 64
) -> np.ndarray:
    """Return (N, K) mean squared differences between each image and K samples under its own conditions.

    Args:
        decode: makes images, see `Decode`.
        images: (N, C, H, W).
        latents: (K, L).
        groups: rows of images that share all conditions, and so their samples.
        batch: samples made at a time.

    Source: the full black-box attack of Chen et al. 2020, arXiv:1909.03935, asked under the image's own conditions.
    """
    import torch
    from rich.progress import track

    found = np.empty((len(images), len(latents)))
    with torch.inference_mode():
        for rows in track(groups, description="Sampling under the images' conditions", transient=True):
            parts = [decode(part, np.repeat(rows[:1], len(part))) for part in latents.split(batch)]
            samples = torch.cat(parts).float().flatten(1).double()
            own = images[torch.from_numpy(rows)].to(samples.device).flatten(1).double()
            squared = own.square().sum(1)[:, None] - 2 * own @ samples.T + samples.square().sum(1)
            found[rows] = squared.clamp(min=0).cpu().numpy() / own.shape[1]
    return found


@dataclass(frozen=True)
class LatentSearch:
    """The distance of each image to the nearest one that gradients find from a starting point.

    Args:
        steps: of Adam.
        learning_rate: of Adam, in units of the latents' standard deviation.
        prior_weight: weight of (mean z^2 - 1)^2, which keeps z where the generator was trained.

    Source: the attack with access to the generator of Chen et al. 2020, arXiv:1909.03935, without its perceptual
    term, with Adam in the place of L-BFGS so that many images are searched for at once.
    """

    steps: int = 3
    learning_rate: float = 0.2
    prior_weight: float = 1e-3

    def distances(self, decode: Decode, images: Tensor, starts: Tensor, *, batch: int = 32) -> np.ndarray:
        """Return the (N,) least objective on each image's way.

        Args:
            decode: makes images, see `Decode`.
            images: (N, C, H, W).
            starts: (N, L) first latents.
            batch: images searched for at a time.
        """
        from rich.progress import track

        first = track(range(0, len(images), batch), description="Searching the latents", transient=True)
        chunks = (np.arange(start, min(start + batch, len(images))) for start in first)
        return np.concatenate([self._search(decode, images[rows[0] : rows[-1] + 1], starts, rows) for rows in chunks])

    def _search(self, decode: Decode, images: Tensor, starts: Tensor, rows: np.ndarray) -> np.ndarray:
        import torch

        with torch.enable_grad():
            z = starts[rows[0] : rows[-1] + 1].clone().requires_grad_()
            optimiser = torch.optim.Adam([z], lr=self.learning_rate, betas=(0.9, 0.9))
            best = torch.full((len(rows),), torch.inf, dtype=torch.float64)
            for step in range(self.steps + 1):
                made = decode(z, rows).float()
                distance = (made - images.to(made.device)).square().flatten(1).mean(1)
                objective = distance + self.prior_weight * (z.square().mean(1) - 1).square()
                best = torch.minimum(best, objective.detach().double().cpu())
                if step < self.steps:
                    (z.grad,) = torch.autograd.grad(objective.sum(), z)
                    optimiser.step()
        return best.numpy()
