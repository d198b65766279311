"""The likeness of images and their reconstructions as an `evaluate` module."""

from __future__ import annotations

from typing import Any, ClassVar

import evaluate
import numpy as np

from .columns import Stream, read_images, stream_features
from .diversity import patient_pairs
from .intervals import bootstrap_patients_together
from .paired import ms_ssim, psnr, ssim
from .real_floor import OPTIONS, data_hash

_MEASURES = {"psnr": psnr, "ssim": ssim, "ms_ssim": ms_ssim}
_PAIRS = 200  # of different patients, for the floor

_DESCRIPTION = """
What an autoencoder loses: the likeness of each image and its reconstruction. A generator that works in an
autoencoder's latent space cannot be better than this.

Formula: PSNR = 10 log10(1 / MSE) in dB; SSIM with an 11 x 11 Gaussian window of sigma 1.5; MS-SSIM over as many scales
as the image size allows (five from 176 pixels; fewer weights are scaled to sum to 1). Means over images.

How to read it: higher is better; an identity has an infinite PSNR, and 1. The floor is what two real images of
different patients reach, so a value near it means that the reconstruction shows another heart. Valid for pairs that
ought to be equal only: between a synthetic image and the real one of its mask a high value is a sign of copying.
"""

_CITATION = """
@article{wang2004image,
  title = {Image Quality Assessment: From Error Visibility to Structural Similarity},
  author = {Wang, Zhou and Bovik, Alan C. and Sheikh, Hamid R. and Simoncelli, Eero P.},
  journal = {IEEE Transactions on Image Processing}, year = {2004}, doi = {10.1109/TIP.2003.819861}
}
"""

_KWARGS_DESCRIPTION = f"""
Args:
    images (N, H, W): float in [0, 1], uint8 or uint16, one size; or N paths of .npy or grey image files.
    reconstructions (N, H, W): of the same images in the same order.
    patient_id (N,) str: the patient of each image.
{OPTIONS}
Returns:
    `psnr` (dB), `ssim`, `ms_ssim`, each with `_low` and `_high` (95 % interval, resampling whole patients) and
    `_floor`, `_floor_low`, `_floor_high` (pairs of images of different patients; NaN with one patient).
    `n_pairs`, `n_patients`, `made_with`, `data_hash` (sha256 of the images).
Raises:
    ValueError: shapes differ, images have fewer than 11 pixels, or columns are missing or of other kinds.
Examples:
    >>> import numpy as np
    >>> images = np.random.default_rng(0).uniform(0.2, 0.8, size=(6, 32, 32))
    >>> patient_id = ["a", "a", "b", "b", "c", "c"]
    >>> result = CmrReconstruction().compute(images=images, reconstructions=images + 0.1, patient_id=patient_id)
    >>> round(result["psnr"], 3), result["ssim"] > result["ssim_floor"]
    (20.0, True)
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrReconstruction(Stream, evaluate.Metric):
    """See above."""

    kinds: ClassVar = {"images": "images", "reconstructions": "images", "patient_id": "names"}

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://doi.org/10.1109/TIP.2003.819861", "https://doi.org/10.1109/ACSSC.2003.1292216"],
        )
        info.format = "numpy"  # the constructor refuses it for arrays; without it pixels come back as lists
        return info

    def _compute(
        self,
        images: np.ndarray,
        reconstructions: np.ndarray,
        patient_id: np.ndarray,
        resamples: int = 100,
        seed: int = 0,
    ) -> dict[str, Any]:
        images, reconstructions = read_images(images), read_images(reconstructions)
        result = _likeness(images, reconstructions, patient_id, "", resamples, seed)
        patients = len(np.unique(patient_id))
        if patients > 1:
            first, second = patient_pairs(patient_id, pairs=min(len(images), _PAIRS), seed=seed).T
            floor = _likeness(images[first], images[second], patient_id[first], "_floor", resamples, seed)
        else:
            floor = {f"{name}_floor{end}": float("nan") for name in _MEASURES for end in ("", "_low", "_high")}
        counts = {"n_pairs": len(images), "n_patients": patients}
        return {**result, **floor, **counts, "made_with": "pixels", "data_hash": data_hash(images)}


def _likeness(
    x: np.ndarray, y: np.ndarray, patient_id: np.ndarray, ending: str, resamples: int, seed: int
) -> dict[str, float]:
    found = {name: measure(x, y) for name, measure in _MEASURES.items()}

    def means(rows: np.ndarray) -> dict[str, float]:
        return {name: float(values[rows].mean()) for name, values in found.items()}

    intervals = bootstrap_patients_together(means, [patient_id], resamples=resamples, seed=seed)
    result = {}
    for name, value in means(np.arange(len(x))).items():
        for end, number in zip(("", "_low", "_high"), (value, *intervals[name]), strict=True):
            result[name + ending + end] = float(number)
    return result
