"""The Frechet distance of infinitely many images (FID-infinity) as an `evaluate` module."""

# ruff: noqa: F401 (`evaluate` copies only the siblings named here, so those of siblings are named too)
from __future__ import annotations

from typing import Any

import evaluate
import numpy as np

from .columns import FEATURE_COLUMNS, FeatureStream, stream_features
from .frechet import frechet_distance
from .frechet_infinity import SMALLEST, frechet_infinity
from .intervals import bootstrap_patients_together
from .real_floor import OPTIONS, RESULT, compare_sets, data_hash, warn_of_bias

_DESCRIPTION = """
The Frechet distance that infinitely many images of the generator would have: the distances of subsets of N in [n / 5,
n] rows, whole patients first, are extrapolated along 1 / N to 0.

Formula: the intercept of a line fitted to FD(N) against 1 / N, at 8 sizes with 2 subsets each.

How to read it: lower is better; slightly negative values are noise around 0. Only the bias of the synthetic set goes
away, that of the reference stays: compare `fid_infinity_at_floor_size` with `fid_infinity_floor`. It needs at least 50
rows a side, and more rows than dimensions in the subsets to be a line at all. It costs 16 times `cmr_fid`.
"""

_CITATION = """
@inproceedings{chong2020effectively,
  title = {Effectively Unbiased FID and Inception Score and Where to Find Them},
  author = {Chong, Min Jin and Forsyth, David},
  booktitle = {CVPR}, year = {2020}, eprint = {1911.07023}
}
"""

_KWARGS_DESCRIPTION = f"""
Args:
{FEATURE_COLUMNS}
{OPTIONS}
Returns:
    `fid_infinity`: the extrapolated distance.
{RESULT}
    Halves of the real patients with fewer than 50 rows give no floor (NaN).
Raises:
    ValueError: there are fewer than 50 synthetic rows, or columns are missing or of other kinds or lengths.
Examples:
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> is_real, patient_id = np.arange(160) < 80, np.arange(160) // 4
    >>> features = rng.normal(size=(160, 3)) + np.where(is_real, 0, 2)[:, None]
    >>> result = CmrFidInfinity().compute(features=features, is_real=is_real, patient_id=patient_id, resamples=20)
    >>> 8 < result["fid_infinity"] < 15
    True
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrFidInfinity(FeatureStream, evaluate.Metric):
    """See above."""

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://arxiv.org/abs/1911.07023"],
        )
        info.format = "numpy"  # the constructor refuses it for arrays; without it pixels come back as lists
        return info

    def _compute(
        self,
        features: np.ndarray,
        is_real: np.ndarray,
        patient_id: np.ndarray,
        features_name: str = "unnamed features",
        resamples: int = 100,
        seed: int = 0,
    ) -> dict[str, Any]:
        if (synthetic := int((~is_real).sum())) < SMALLEST:
            raise ValueError(f"rows: {synthetic} synthetic ones; give at least {SMALLEST}, or use cmr_kid")
        warn_of_bias("fid_infinity", 5 * features.shape[1], is_real)  # the smallest subsets hold a fifth of the rows
        rows = np.asarray(features, dtype=np.float64)

        def compare(first: np.ndarray, second: np.ndarray) -> Any:
            def of_rows(i: np.ndarray, j: np.ndarray) -> dict[str, float]:
                if len(i) < SMALLEST:  # a resample, or half of the real patients
                    return {"fid_infinity": float("nan")}
                options = {"groups": patient_id[first[i]], "points": 8, "repeats": 2, "seed": seed}
                return {"fid_infinity": frechet_infinity(rows[first[i]], rows[second[j]], **options)}

            return of_rows

        result = compare_sets(compare, is_real, patient_id, resamples=resamples, seed=seed)
        return {**result, "made_with": features_name, "data_hash": data_hash(rows[is_real])}
