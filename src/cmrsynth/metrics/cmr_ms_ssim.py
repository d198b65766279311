"""The mean similarity of image pairs within a set (pairwise MS-SSIM) as an `evaluate` module."""

# ruff: noqa: F401 (`evaluate` copies only the siblings named here, so those of siblings are named too)
from __future__ import annotations

from typing import Any

import evaluate
import numpy as np

from .columns import IMAGE_COLUMNS, ImageStream, read_images, stream_features
from .diversity import patient_pairs
from .intervals import bootstrap_patients_together
from .paired import ms_ssim
from .real_floor import OPTIONS, RESULT, data_hash, describe_sets

_PAIRS = 600

_DESCRIPTION = """
How alike the synthetic images are to one another: mode collapse and repeated images raise it.

Formula: the mean MS-SSIM of 600 random pairs of images of different patients, over as many scales as the image size
allows (five from 176 pixels; fewer weights are scaled to sum to 1).

How to read it: lower is more diverse; 1 if all images are equal. Compare with the floor, the same for as many real
images: clearly above is a lack of diversity, clearly below is noise. A dozen repeated images hardly show; `cmr_vendi`
sees them.
"""

_CITATION = """
@inproceedings{odena2017conditional,
  title = {Conditional Image Synthesis with Auxiliary Classifier GANs},
  author = {Odena, Augustus and Olah, Christopher and Shlens, Jonathon},
  booktitle = {ICML}, year = {2017}, eprint = {1610.09585}
}
@inproceedings{wang2003multiscale,
  title = {Multiscale Structural Similarity for Image Quality Assessment},
  author = {Wang, Zhou and Simoncelli, Eero P. and Bovik, Alan C.},
  booktitle = {Asilomar Conference on Signals, Systems and Computers}, year = {2003}
}
"""

_KWARGS_DESCRIPTION = f"""
Args:
{IMAGE_COLUMNS}
{OPTIONS}
Returns:
    `pairwise_ms_ssim`: in [0, 1]. The floor is that of real images.
{RESULT}
Raises:
    ValueError: a set has one patient only, images have fewer than 11 pixels, or columns are missing or of other kinds.
Examples:
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> is_real, patient_id = np.arange(48) < 24, np.arange(48) // 2
    >>> images = rng.uniform(0.4, 0.6, size=(48, 32, 32))
    >>> images[~is_real] = (images[~is_real] + np.roll(images[~is_real], 1, axis=2)) / 2  # blurred
    >>> result = CmrMsSsim().compute(images=images, is_real=is_real, patient_id=patient_id, resamples=20)
    >>> 0 < result["pairwise_ms_ssim"] < 1
    True
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrMsSsim(ImageStream, evaluate.Metric):
    """See above."""

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://arxiv.org/abs/1610.09585"],
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

        def describe(own: np.ndarray) -> Any:
            first, second = patient_pairs(patient_id[own], pairs=_PAIRS, seed=seed).T
            likeness = ms_ssim(images[own[first]], images[own[second]])

            def of_rows(i: np.ndarray) -> dict[str, float]:
                drawn = np.bincount(i, minlength=len(own))
                weights = (drawn[first] * drawn[second]).astype(float)
                return {
                    "pairwise_ms_ssim": float(np.average(likeness, weights=weights)) if weights.any() else float("nan")
                }

            return of_rows

        result = describe_sets(describe, is_real, patient_id, resamples=resamples, seed=seed)
        return {**result, "made_with": "pixels", "data_hash": data_hash(images[is_real])}
