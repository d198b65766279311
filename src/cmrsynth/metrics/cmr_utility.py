"""The gain of one training set over another as an `evaluate` module."""

from __future__ import annotations

from typing import Any, ClassVar

import evaluate
import numpy as np

from .columns import Stream, stream_features
from .hierarchical import mean_of_seeds_and_patients
from .holm import holm

_DESCRIPTION = """
Is a network trained with synthetic images better than one trained without? Takes paired scores (such as Dice) of two
arms on the same real test patients, per structure and training seed.

Formula: the mean over patients and seeds of candidate - baseline, with an interval that resamples patients and seeds,
a two-sided p-value of "no difference", and Holm's correction over structures.

How to read it: above 0 the candidate is better; a difference whose interval holds 0 is not shown. Scores of the test
patients must come from networks trained for equal numbers of updates, without these patients. With one seed the
interval speaks of these two networks alone, not of the two ways to train.
"""

_CITATION = """
@article{esteban2017real,
  title = {Real-valued (Medical) Time Series Generation with Recurrent Conditional GANs},
  author = {Esteban, Cristobal and Hyland, Stephanie L. and Ratsch, Gunnar},
  journal = {arXiv preprint arXiv:1706.02633}, year = {2017}
}
@article{holm1979simple,
  title = {A Simple Sequentially Rejective Multiple Test Procedure},
  author = {Holm, Sture}, journal = {Scandinavian Journal of Statistics}, volume = {6}, year = {1979}
}
"""

_KWARGS_DESCRIPTION = """
Args:
    baseline (N,) float: score of the arm to compare with; NaN where not defined.
    candidate (N,) float: score of the other arm on the same patient and structure, with the same training seed.
    patient_id (N,) str: test patient.
    structure (N,) str: such as "lv"; each is tested by itself.
    training_seed (N,) str: names the training run.
    resamples (int): bootstrap resamples of patients and seeds.
    seed (int): of the resamples.
Returns:
    For each structure `<structure>_difference`, `..._difference_low`, `..._difference_high` (95 % interval),
    `..._baseline`, `..._candidate` (means), `..._p`, `..._p_holm`; the floor of a difference is 0.
    `n_patients`, `n_seeds`.
Raises:
    ValueError: a patient, structure and seed occur twice, or some are missing, or columns are of other kinds.
Examples:
    >>> import numpy as np
    >>> baseline = np.random.default_rng(0).uniform(0.7, 0.9, size=24)
    >>> gain = np.tile([0.04, 0.05, 0.06], 8)
    >>> columns = {"patient_id": np.arange(24) % 12, "structure": ["lv"] * 24, "training_seed": np.arange(24) // 12}
    >>> result = CmrUtility().compute(baseline=baseline, candidate=baseline + gain, **columns)
    >>> round(result["lv_difference"], 3), result["lv_p_holm"] < 0.05
    (0.05, True)
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrUtility(Stream, evaluate.Metric):
    """See above."""

    kinds: ClassVar = {
        "baseline": "numbers",
        "candidate": "numbers",
        "patient_id": "names",
        "structure": "names",
        "training_seed": "names",
    }

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://arxiv.org/abs/1706.02633"],
        )
        info.format = "numpy"  # the constructor refuses it for arrays; without it pixels come back as lists
        return info

    def _compute(
        self,
        baseline: np.ndarray,
        candidate: np.ndarray,
        patient_id: np.ndarray,
        structure: np.ndarray,
        training_seed: np.ndarray,
        resamples: int = 2000,
        seed: int = 0,
    ) -> dict[str, Any]:
        patients, seeds, structures = np.unique(patient_id), np.unique(training_seed), np.unique(structure)
        place = (np.searchsorted(seeds, training_seed), np.searchsorted(patients, patient_id))
        found, means = {}, {}
        for name in structures:
            own = structure == name
            cells = place[0][own], place[1][own]
            if len(set(zip(*cells, strict=True))) < own.sum() or own.sum() < len(seeds) * len(patients):
                raise ValueError(
                    f"{name}: expected one row for each of {len(patients)} patients and {len(seeds)} seeds, got "
                    f"{own.sum()}; give NaN where a score is not defined"
                )
            arms = {arm: np.full((len(seeds), len(patients)), np.nan) for arm in ("baseline", "candidate")}
            for arm, scores in (("baseline", baseline), ("candidate", candidate)):
                arms[arm][cells] = scores[own]
            difference = arms["candidate"] - arms["baseline"]
            found[str(name)] = mean_of_seeds_and_patients(difference, resamples=resamples, seed=seed)
            both = np.isfinite(difference)
            means[str(name)] = {
                arm: float(values[both].mean()) if both.any() else float("nan") for arm, values in arms.items()
            }
        result: dict[str, Any] = {}
        for (name, crossed), adjusted in zip(found.items(), holm([c.p for c in found.values()]), strict=True):
            low, high = crossed.interval
            values = {"difference": crossed.value, "difference_low": low, "difference_high": high}
            values |= {**means[name], "p": crossed.p, "p_holm": adjusted}
            result |= {f"{name}_{key}": float(value) for key, value in values.items()}
        return {**result, "n_patients": len(patients), "n_seeds": len(seeds)}
