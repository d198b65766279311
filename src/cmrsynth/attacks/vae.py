"""Attacks on autoencoders: an image that was trained on is rebuilt better, at fewer nats.

A latent generator is attacked twice: here its autoencoder, and with the other attacks its latent model. An
autoencoder fitted on the patients leaks by itself. The Monte-Carlo attack needs samples only and is in
`cmrsynth.metrics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_POSTERIOR = 35  # random stream


def reconstruction_scores(
    autoencoder: Any, images: Tensor, *, draws: int = 8, seed: int = 0, batch: int = 32
) -> np.ndarray:
    """Return (N,) minus the mean squared reconstruction error over draws from the posterior.

    Args:
        autoencoder: like diffusers' AutoencoderKL: `encode(x).latent_dist` with `mean` and `std`, `decode(z).sample`.
        images: (N, C, H, W) in [-1, 1].
        draws: posterior draws, with the same standard normal numbers for every image.
        seed: names them.
        batch: images at a time.

    Source: Hilprecht et al. 2019, arXiv:1906.03006, the reconstruction attack.
    """
    return -_errors_and_kl(autoencoder, images, draws, seed, batch)[0]


def elbo_scores(
    autoencoder: Any,
    images: Tensor,
    *,
    observation_std: float = 0.1,
    draws: int = 8,
    seed: int = 0,
    batch: int = 32,
) -> np.ndarray:
    """Return (N,) evidence lower bounds per pixel, up to a constant: the log-likelihood a member has too much of.

    Args:
        autoencoder: as in `reconstruction_scores`.
        images: (N, C, H, W) in [-1, 1].
        observation_std: standard deviation of the Gaussian observation model; a training weight w of the KL term
            means sqrt(w / 2) for errors summed over pixels.
        draws: posterior draws.
        seed: names them.
        batch: images at a time.

    Source: Hilprecht et al. 2019, arXiv:1906.03006; the bound of Kingma and Welling 2014, arXiv:1312.6114.
    """
    errors, kl = _errors_and_kl(autoencoder, images, draws, seed, batch)
    return -errors / (2 * observation_std**2) - kl / images[0].numel()


def _errors_and_kl(
    autoencoder: Any, images: Tensor, draws: int, seed: int, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    import torch

    errors, divergences = [], []
    with torch.inference_mode():
        for part in images.split(batch):
            posterior = autoencoder.encode(part).latent_dist
            mean, std = posterior.mean, posterior.std
            error = part.new_zeros(len(part), dtype=torch.float64)
            for draw in range(draws):
                rng = np.random.default_rng([seed, _POSTERIOR, draw])
                latent = mean + std * mean.new_tensor(rng.standard_normal((1, *mean.shape[1:])))
                error += (autoencoder.decode(latent).sample - part).double().square().flatten(1).mean(1)
            kl = (mean**2 + std**2 - 1 - 2 * std.clamp(min=1e-30).log()).double().flatten(1).sum(1) / 2
            errors.append(error / draws)
            divergences.append(kl)
    return torch.cat(errors).cpu().numpy(), torch.cat(divergences).cpu().numpy()
