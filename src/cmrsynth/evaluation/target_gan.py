"""GANs under attack: their samples, the search of their latents, their style encoder, and their discriminator.

GAN-Leaks (Chen et al. 2020, arXiv:1909.03935) asks how near the generator comes to an image; here under the image's
own mask and attributes, because whoever holds the model can give them. Calibration without a reference generator is
the adjustment for the image's difficulty, as for all attacks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cmrsynth.attacks.latent_search import LatentSearch, sample_distances, shared_latents
from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.attack_inputs import Records, records
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.target import Discriminator, nearest_member
from cmrsynth.seeds import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

NEAREST, NEARBY, SEARCH, STYLE, LOGAN = (
    "nearest_sample",
    "monte_carlo",
    "latent_search",
    "style_reconstruction",
    "discriminator",
)
POOL = 64  # times as many samples where records without masks share them
PROBED = 2  # samples under each value of an attribute, as a share of those of the attack: one in so many


@dataclass(frozen=True)
class GanTarget:
    """A GAN pipeline under attack.

    Args:
        pipeline: offers `generator`, `decode_latent(latent, mask, **attributes)` and `latent_dim`; with a style
            encoder, `encode_latent(image, **attributes)` too.
        settings: number of samples and of steps of the search.
        discriminator: scores slices; it never travels with the pipeline.
    """

    pipeline: Any
    settings: EvaluationSettings
    discriminator: Discriminator | None = None

    @property
    def base(self) -> str:
        """The reconstruction from an image's own style, where there is a style encoder; else the nearest sample."""
        return STYLE if hasattr(self.pipeline, "encode_latent") else NEAREST

    @property
    def probe_made_with(self) -> str:
        """What `probe` does, in a few words."""
        return "distance to the nearest sample"

    def seen(self, part: SliceSet) -> SliceSet:
        """Return the set as it is."""
        return part

    def features(self, train: SliceSet, holdout: SliceSet) -> dict[str, np.ndarray]:
        """Return the features of every attack."""
        known = records(self.pipeline, train, holdout)
        latents = self._latents(known)
        distances = self._distances(known, latents)
        nearest = distances.min(1)
        starts = latents[distances.argmin(1)]
        found = {
            NEAREST: -nearest,
            # radius by the paper's median heuristic, over members and others alike
            NEARBY: (distances <= np.median(nearest)).mean(1),
        }
        if hasattr(self.pipeline, "encode_latent"):
            styles, errors = self._reconstructed(known)
            found[STYLE] = -errors
            starts[errors < nearest] = styles[errors < nearest]
        if self.settings.search_steps:
            with _frozen(self.pipeline.generator):
                found[SEARCH] = -self._search.distances(self._decoder(known), known.images, starts)
        if self.discriminator is not None:
            found[LOGAN] = np.concatenate([self.discriminator(part) for part in (train, holdout)])
        return {name: np.asarray(values, dtype=np.float64)[:, None] for name, values in found.items()}

    def made_with(self, attack: str) -> str:
        """Return what an attack did, in a few words."""
        count, own = self.settings.membership_samples, "the image's own mask and attributes"
        if not self.pipeline.mask_channels:
            count, own = POOL * count, "the image's own attributes"
        return {
            NEAREST: f"GAN-Leaks: nearest of {count} samples under {own}",
            NEARBY: f"Monte Carlo: share of {count} samples under {own} within the median distance",
            SEARCH: f"GAN-Leaks with gradients: {self._search.steps} steps from the nearest sample or style",
            STYLE: "reconstruction from the image's own style and mask",
            LOGAN: "LOGAN: score of the discriminator",
        }[attack]

    def fusion(self, attack: str) -> str:
        """Return "mean": every attack has one column."""
        return "mean"

    def planted(self, train: SliceSet, holdout: SliceSet) -> np.ndarray:
        """Return the base attack on a generator that can make the training images and nothing else."""
        return nearest_member(train, holdout)

    def probe(self, part: SliceSet, **given: str) -> np.ndarray:
        """Return minus the distance of each slice to its nearest sample under these attributes."""
        known = records(self.pipeline, part)
        return -self._distances(known, self._latents(known, share=PROBED), **given).min(1)

    @property
    def _search(self) -> LatentSearch:
        return LatentSearch(steps=self.settings.search_steps)

    def _latents(self, known: Records, share: int = 1) -> Tensor:
        count = max(1, self.settings.membership_samples // share) * (POOL if known.masks is None else 1)
        drawn = shared_latents(count, self.pipeline.latent_dim, derive_seed(self.settings.seed, "attack samples"))
        return drawn.to(known.images.device)

    def _decoder(self, known: Records, **given: str) -> Any:
        def decode(latents: Tensor, rows: np.ndarray) -> Tensor:
            mask, attributes = known.conditions(rows, **given)
            return self.pipeline.decode_latent(latents, mask, **attributes)

        return decode

    def _distances(self, known: Records, latents: Tensor, **given: str) -> np.ndarray:
        return sample_distances(self._decoder(known, **given), known.images, latents, known.groups(**given))

    def _reconstructed(self, known: Records) -> tuple[Tensor, np.ndarray]:
        """Return the latents of the images' styles, and the errors of what they decode to."""
        import torch

        styles, errors = [], []
        decode = self._decoder(known)
        with torch.inference_mode():
            for rows in np.array_split(np.arange(len(known)), max(1, len(known) // 32)):
                _, attributes = known.conditions(rows)
                images = known.images[rows]
                styles.append(self.pipeline.encode_latent(images, **attributes))
                made = decode(styles[-1], rows).float()
                errors.append((made - images).double().square().flatten(1).mean(1))
        return torch.cat(styles).float(), torch.cat(errors).cpu().numpy()


@contextmanager
def _frozen(network: Any) -> Iterator[None]:
    """Spare the gradients of the weights, which cost as much as those of the latents."""
    wanting = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in wanting:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in wanting:
            weight.requires_grad_(True)
