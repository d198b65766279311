"""The overfitting gap: how much better the generator predicts its training patients than others."""

from __future__ import annotations

from typing import Any

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.attack_scores import PLANTED_AS, Attacked, Refused, attack_generator
from cmrsynth.evaluation.attack_statistics import Scored, central
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Measured, finite
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import Judgement
from cmrsynth.metrics.intervals import bootstrap_patients

TITLE = "Overfitting gap: loss on other patients above that on training patients"
HALVES = 200  # random halves of the held-out patients
MIN_HELD_OUT = 4
WIDE = 0.5  # training patients cost less than half of what others do
_HALVES = 52  # random stream


def overfitting_figures(
    model: Any,
    train: SliceSet,
    holdout: SliceSet,
    settings: EvaluationSettings,
    attacked: Attacked | Refused | None = None,
) -> list[Figure]:
    """Return the gap between held-out and training loss per patient, as a share of the held-out loss.

    What the images' own difficulty explains is taken out of the losses, anew in every resample and every half.

    Args:
        model: the pipeline, or None.
        train: the slices it was trained on.
        holdout: slices of other patients.
        settings: draws, resamples and seed.
        attacked: what `attack_generator` returned for the same arguments, where it was called already.
    """
    attacked = attacked or attack_generator(model, train, holdout, settings)
    if isinstance(attacked, Refused) or attacked.n["nonmembers"] < MIN_HELD_OUT:
        n = {"members": len(train.patients), "nonmembers": len(holdout.patients)}
        few = f"{n['nonmembers']} held-out patients cannot be halved for comparison; {MIN_HELD_OUT} are needed."
        why = attacked.why if isinstance(attacked, Refused) else few
        return [not_computed("privacy", "overfitting_gap", TITLE, why, n, "none")]
    scored = attacked.base
    value = relative_gap(scored, *scored.sides.rows())
    interval = bootstrap_patients(
        lambda *rows: relative_gap(scored, *scored.sides.pooled(*rows)),
        scored.sides.groups,
        resamples=settings.resamples,
        seed=settings.seed,
    )
    halves = np.array([relative_gap(scored, *_halves(scored, draw, settings.seed)) for draw in range(HALVES)])
    measured = Measured(value, finite(interval), float(halves.mean()), central(halves))
    judgement = judge_gap(measured)
    sentence = (
        "The generator predicts its training patients no better than others."
        if judgement.verdict == GOOD
        else "The generator has begun to learn its training patients by heart; train it for less long or on more."
    )
    losses, side = _losses(scored), "below" if value >= 0 else "above"
    return [
        judged(
            "privacy",
            "overfitting_gap",
            TITLE,
            measured,
            judgement,
            f"{sentence} (The loss on training patients is {abs(value):.1%} {side} that on others.)",
            better="nearer floor",
            n=attacked.n,
            made_with=attacked.base_made_with,
            details={"train_loss": losses[0], "holdout_loss": losses[1]},
            planted=relative_gap(attacked.planted, *attacked.planted.sides.rows()),
            planted_as=PLANTED_AS,
        )
    ]


def relative_gap(scored: Scored, member_rows: np.ndarray, other_rows: np.ndarray) -> float:
    """Return (loss of others - loss of members) / (plain loss of others), over patients; scores are minus losses.

    0 is no overfitting, 1 that members cost nothing.
    """
    member, other = scored.patient_scores(member_rows, other_rows)
    plain = scored.mean_by_patient(-scored.features[other_rows].mean(1), other_rows)
    return float((member.mean() - other.mean()) / plain.mean())


def judge_gap(measured: Measured) -> Judgement:
    """Judge the gap by that between halves of the held-out patients.

    >>> [judge_gap(Measured(v, (v - 0.05, v + 0.05), 0, (-0.1, 0.1))).verdict for v in (0.08, 0.2, 0.9)]
    ['good', 'look closer', 'do not share']
    """
    top = measured.floor_interval[1]
    low = measured.interval[0] if measured.interval else measured.value
    rule = (
        f"good if the interval reaches 0 or the gap is within that of halves of the held-out patients (up to "
        f"{top:.3f}); do not share above {WIDE:g}; look closer otherwise"
    )
    if low <= 0 or measured.value <= top:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if measured.value > WIDE else LOOK, rule)


def _halves(scored: Scored, draw: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    held_out = np.arange(scored.sides.members, len(scored.sides.patient))
    patients = np.random.default_rng([seed, _HALVES, draw]).permutation(np.unique(scored.sides.patient[held_out]))
    first = np.isin(scored.sides.patient[held_out], patients[: len(patients) // 2])
    return held_out[first], held_out[~first]


def _losses(scored: Scored) -> list[float]:
    rows = scored.sides.rows()
    return [float(scored.mean_by_patient(-scored.features[own].mean(1), own).mean()) for own in rows]
