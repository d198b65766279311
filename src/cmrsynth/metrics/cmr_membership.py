"""The success of a membership attack as an `evaluate` module."""

# ruff: noqa: F401 (`evaluate` copies only the siblings named here, so those of siblings are named too)
from __future__ import annotations

from typing import Any, ClassVar

import evaluate
import numpy as np

from .columns import Stream, stream_features
from .intervals import bootstrap_patients_together, clopper_pearson
from .membership import aggregate_by_patient, auc, balanced_accuracy, tpr_at_fpr
from .real_floor import OPTIONS
from .texture import radial_power_spectrum

_FPR_PERCENT = (1, 5, 10)
_CHANCE = 63  # random stream

_DESCRIPTION = """
Can an attacker tell which patients a generator was trained on? Takes the scores of any attack, one per slice, and
judges them per patient.

Formula: scores are averaged per patient; AUC is the probability that a member scores above a non-member; TPR at FPR:
the share of members found while at most 1, 5 or 10 % of non-members are accused, with Clopper-Pearson intervals;
balanced accuracy: the best (TPR + TNR) / 2 of any threshold.

How to read it: an AUC of .5 and a TPR equal to the FPR are chance; 1 is full exposure. The floor is chance with the
interval that an attack without any information has at these numbers of patients. Members and non-members must be of
one site and scanner mix: run a blind baseline (a classifier that sees images only) first, and if it succeeds, no
number here means anything. TPR at FPR is NaN with fewer than 1 / FPR non-members, because such a rate cannot be told
from 0.
"""

_CITATION = """
@inproceedings{carlini2022membership,
  title = {Membership Inference Attacks From First Principles},
  author = {Carlini, Nicholas and Chien, Steve and Nasr, Milad and Song, Shuang and Terzis, Andreas
            and Tramer, Florian},
  booktitle = {IEEE Symposium on Security and Privacy}, year = {2022}, eprint = {2112.03570}
}
"""

_KWARGS_DESCRIPTION = f"""
Args:
    scores (N,) float: one per slice; higher is more like a member.
    is_member (N,) bool: True for training patients.
    patient_id (N,) str: the patient of each slice; none may be on both sides.
{OPTIONS}
Returns:
    `auc`, `auc_low`, `auc_high` (95 % interval over patients), `auc_floor` (.5) with `auc_floor_low`, `auc_floor_high`
    (95 % of attacks without information); `tpr_at_01_fpr`, `tpr_at_05_fpr`, `tpr_at_10_fpr`, each with `_low`, `_high`
    and `_floor` (the FPR itself); `balanced_accuracy` with `_floor` (its mean for scores without information).
    `n_members`, `n_nonmembers`: patients.
Raises:
    ValueError: a side is empty, a score is NaN, or a patient is on both sides.
Examples:
    >>> import numpy as np
    >>> is_member, patient_id = np.arange(80) < 40, np.arange(80) // 2
    >>> scores = np.random.default_rng(0).normal(size=80) + 3 * is_member
    >>> result = CmrMembership().compute(scores=scores, is_member=is_member, patient_id=patient_id)
    >>> result["auc"] > 0.95, result["n_members"], result["tpr_at_10_fpr"] > 0.9
    (True, 20, True)
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class CmrMembership(Stream, evaluate.Metric):
    """See above."""

    kinds: ClassVar = {"scores": "numbers", "is_member": "flags", "patient_id": "names"}

    def _info(self) -> evaluate.MetricInfo:
        info = evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=stream_features(self.kinds),
            reference_urls=["https://arxiv.org/abs/2112.03570", "https://arxiv.org/abs/2406.16201"],
        )
        info.format = "numpy"  # the constructor refuses it for arrays; without it pixels come back as lists
        return info

    def _compute(
        self,
        scores: np.ndarray,
        is_member: np.ndarray,
        patient_id: np.ndarray,
        resamples: int = 1000,
        seed: int = 0,
    ) -> dict[str, Any]:
        if shared := sorted(set(patient_id[is_member].tolist()) & set(patient_id[~is_member].tolist())):
            raise ValueError(f"patient_id: {shared[:3]} are on both sides; split by patient")
        member, nonmember = (
            aggregate_by_patient(scores[rows], patient_id[rows])[1] for rows in (is_member, ~is_member)
        )
        value, sizes = auc(member, nonmember), (len(member), len(nonmember))
        groups = [np.arange(size) for size in sizes]
        interval = bootstrap_patients_together(
            lambda i, j: {"auc": auc(member[i], nonmember[j])}, groups, resamples=resamples, seed=seed
        )["auc"]
        if value in (0.0, 1.0):  # every resample gives the same, so the bootstrap has no width
            interval = clopper_pearson(int(value) * min(sizes), min(sizes))
        spread = 1.96 * np.sqrt((sum(sizes) + 1) / (12 * np.prod(sizes)))  # of an attack without information
        result = {"auc": value, "auc_floor": 0.5, "n_members": sizes[0], "n_nonmembers": sizes[1]}
        for name, bounds in (("auc", interval), ("auc_floor", (0.5 - spread, 0.5 + spread))):
            low, high = np.clip(bounds, 0, 1)
            result |= {f"{name}_low": float(low), f"{name}_high": float(high)}
        for percent in _FPR_PERCENT:
            name = f"tpr_at_{percent:02d}_fpr"
            found = tpr_at_fpr(member, nonmember, percent / 100)
            result |= {name + end: float(v) for end, v in zip(("", "_low", "_high"), found, strict=True)}
            result[f"{name}_floor"] = percent / 100
        rng = np.random.default_rng([seed, _CHANCE])
        chance = [balanced_accuracy(rng.random(sizes[0]), rng.random(sizes[1])) for _ in range(200)]
        return {
            **result,
            "balanced_accuracy": balanced_accuracy(member, nonmember),
            "balanced_accuracy_floor": float(np.mean(chance)),
        }
