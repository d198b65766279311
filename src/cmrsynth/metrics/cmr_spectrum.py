"""The distance between radial power spectra as an `evaluate` module."""

# ruff: noqa: F401 (`evaluate` copies only the siblings named here, so those of siblings are named too)
from __future__ import annotations

from typing import Any

import evaluate
import numpy as np

from .columns import IMAGE_COLUMNS, ImageStream, read_images, stream_features
from .intervals import bootstrap_patients_together
from .real_floor import OPTIONS, RESULT, compare_sets, data_hash, over
from .texture import radial_power_spectrum, spectrum_distance

_DESCRIPTION = """
How far the mean power spectrum of synthetic images is from that of real ones: blur lacks high frequencies, noise and
checkerboards have too much of them.

Formula: the mean over radii of |log(P_s(r) / P_r(r))|, with P the power per spatial frequency, averaged over
directions and images after a Hann window.

How to read it: lower is better; 0 for equal spectra, .69 if one set has twice the power at every frequency. Compare
the value at floor size with the floor. It cannot see where in the image power is missing.
"""

_CITATION = """
@inproceedings{durall2020watch,
  title = {Watch Your Up-Convolution: CNN Based Generative Deep Neural Networks Are Failing to Reproduce Spectral
           Distributions},
  author = {Durall, Ricard and Keuper, Margret and Keuper, Janis},
  booktitle = {CVPR}, year = {2020}, eprint = {2003.01826}
}
"""

_KWARGS_DESCRIPTION = f"""
Args:
{IMAGE_COLUMNS}
{OPTIONS}
Returns:
    `spectrum_distance`: mean absolute log-ratio, >= 0.
{RESULT}
Raises:
    ValueError: columns are missing, of other kinds or lengths, or a set has fewer than two rows.
Examples:
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> is_real, patient_id = np.arange(48) < 24, np.arange(48) // 2
    >>> images = rng.uniform(0.4, 0.6, size=(48, 32, 32))
    >>> images[~is_real] = (images[~is_real] + np.roll(images[~is_real], 1, axis=2)) / 2  # blurred
    >>> result = CmrSpectrum().compute(images=images, is_real=is_real, patient_id=patient_id, resamples=20)
    >>> result["spectrum_distance_at_floor_size"] > 3 * result["spectrum_distance_floor"]
    True
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrSpectrum(ImageStream, evaluate.Metric):
    """See above."""

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://arxiv.org/abs/2003.01826"],
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
        spectra = radial_power_spectrum(images)
        result = compare_sets(
            over(spectra, lambda x, y: {"spectrum_distance": spectrum_distance(x, y)}),
            is_real,
            patient_id,
            resamples=resamples,
            seed=seed,
        )
        return {**result, "made_with": "pixels", "data_hash": data_hash(images[is_real])}
