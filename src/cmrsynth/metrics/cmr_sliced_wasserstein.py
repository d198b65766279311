"""The sliced Wasserstein distance between local textures as an `evaluate` module."""

# ruff: noqa: F401 (`evaluate` copies only the siblings named here, so those of siblings are named too)
from __future__ import annotations

from typing import Any

import evaluate
import numpy as np

from .columns import IMAGE_COLUMNS, ImageStream, read_images, stream_features
from .intervals import bootstrap_patients_together
from .real_floor import OPTIONS, RESULT, compare_sets, data_hash
from .texture import SlicedWasserstein, patch_statistics

_DIRECTIONS = 64

_DESCRIPTION = """
The distance between the local textures of synthetic and real images, without any network: it sees blur, noise,
checkerboards and torn backgrounds that features of a segmentation network overlook.

Formula: random 7 x 7 patches of each level of a Laplacian pyramid, normalised by the reference's mean and spread of
that level, are projected onto 64 random directions; the mean over directions of the exact Wasserstein-1 distance,
times 1000.

How to read it: lower is better; 0 only for equal sets. Level 0 is the finest. Compare each level's value at floor size
with its floor: in a trial on ACDC, visibly smoothed images had 110 on level 0 where real ones had 28.
"""

_CITATION = """
@inproceedings{karras2018progressive,
  title = {Progressive Growing of GANs for Improved Quality, Stability, and Variation},
  author = {Karras, Tero and Aila, Timo and Laine, Samuli and Lehtinen, Jaakko},
  booktitle = {ICLR}, year = {2018}, eprint = {1710.10196}
}
@inproceedings{rabin2011wasserstein,
  title = {Wasserstein Barycenter and Its Application to Texture Mixing},
  author = {Rabin, Julien and Peyr{\\'e}, Gabriel and Delon, Julie and Bernot, Marc},
  booktitle = {Scale Space and Variational Methods in Computer Vision}, year = {2011}
}
"""

_KWARGS_DESCRIPTION = f"""
Args:
{IMAGE_COLUMNS}
{OPTIONS}
Returns:
    `sliced_wasserstein` (mean over levels), `sliced_wasserstein_level_0` (finest), `..._level_1`, ...
{RESULT}
Raises:
    ValueError: columns are missing, of other kinds or lengths, or a set has fewer than two rows.
Examples:
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> is_real, patient_id = np.arange(48) < 24, np.arange(48) // 2
    >>> images = rng.uniform(0.4, 0.6, size=(48, 32, 32))
    >>> images[~is_real] = (images[~is_real] + np.roll(images[~is_real], 1, axis=2)) / 2  # blurred
    >>> result = CmrSlicedWasserstein().compute(images=images, is_real=is_real, patient_id=patient_id, resamples=20)
    >>> result["sliced_wasserstein_level_0_at_floor_size"] > 2 * result["sliced_wasserstein_level_0_floor"]
    True
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrSlicedWasserstein(ImageStream, evaluate.Metric):
    """See above."""

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://arxiv.org/abs/1710.10196"],
        )
        info.format = "numpy"  # the constructor refuses it for arrays; without it pixels come back as lists
        return info

    def _compute(
        self,
        images: np.ndarray,
        is_real: np.ndarray,
        patient_id: np.ndarray,
        resamples: int = 100,
        seed: int = 0,
    ) -> dict[str, Any]:
        images = read_images(images)
        patches = patch_statistics(images, num_projections=_DIRECTIONS, seed=seed)

        def compare(first: np.ndarray, second: np.ndarray) -> Any:
            distance = SlicedWasserstein(patches.take(first), patches.take(second)).distance
            return lambda i, j: {
                "sliced_wasserstein" + ("" if name == "mean" else f"_{name}"): value
                for name, value in distance(i, j).items()
            }

        result = compare_sets(compare, is_real, patient_id, resamples=resamples, seed=seed)
        return {**result, "made_with": "pixels", "data_hash": data_hash(images[is_real])}
