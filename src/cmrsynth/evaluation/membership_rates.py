"""How many training patients an attack finds, and how often it is right."""

from __future__ import annotations

from typing import Any

import numpy as np

from cmrsynth.evaluation.attack_scores import PLANTED_AS, Attacked
from cmrsynth.evaluation.attack_statistics import SHUFFLES, Scored, central, interval_of_share
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Interval, Measured
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import Judgement
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.membership import balanced_accuracy, tpr_at_fpr

RATES = {"membership_tpr": 0.1, "membership_tpr_5": 0.05, "membership_tpr_1": 0.01}


def rate_figures(attacked: Attacked, titles: dict[str, str]) -> list[Figure]:
    """Return the shares of training patients found at 10, 5 and 1 % false positives, where patients resolve them."""
    scores = attacked.base.patient_scores(*attacked.base.sides.rows())
    planted = attacked.planted.patient_scores(*attacked.planted.sides.rows())
    return [_rate_figure(name, titles[name], fpr, scores, planted, attacked) for name, fpr in RATES.items()]


def judge_rate_found(value: float, interval: Interval, fpr: float, chance: float) -> Judgement:
    """Judge the share of training patients found while a share `fpr` of the others is accused.

    >>> [judge_rate_found(v, (v - 0.1, 1.0), 0.1, 0.3).verdict for v in (0.2, 0.35, 0.9)]
    ['good', 'look closer', 'do not share']
    """
    rule = (
        f"good up to what chance finds, the threshold being random (97.5 % point {chance:.2f}); do not share if the "
        f"interval also lies above {3 * fpr:g}; look closer otherwise"
    )
    if value <= chance:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if interval[0] > 3 * fpr else LOOK, rule)


def balanced_accuracy_figure(attacked: Attacked, settings: EvaluationSettings, title: str) -> Figure:
    """Return the best balanced accuracy of any threshold, beside its value for shuffled patients."""
    scored = attacked.base
    value = balanced_accuracy(*scored.patient_scores(*scored.sides.rows()))
    interval = bootstrap_patients(
        lambda *rows: balanced_accuracy(*scored.patient_scores(*scored.sides.pooled(*rows))),
        scored.sides.groups,
        resamples=settings.resamples,
        seed=settings.seed,
    )
    shuffles = [scored.sides.shuffled(draw, settings.seed) for draw in range(SHUFFLES)]
    null = np.array([balanced_accuracy(*scored.patient_scores(*rows)) for rows in shuffles])
    measured = Measured(value, interval_of_share(value, interval, scored.sides), float(null.mean()), central(null))
    judgement = _judge_accuracy(value, measured.floor_interval[1])
    return judged(
        "privacy",
        "membership_balanced_accuracy",
        title,
        measured,
        judgement,
        f"With the best threshold the attack is right for {value:.0%} of patients, both sides counting alike; on "
        f"shuffled patients the best threshold gives {measured.floor:.0%}.",
        better="nearer floor",
        n=attacked.n,
        made_with=f"{attacked.base_made_with}, threshold chosen on these patients",
        planted=balanced_accuracy(*attacked.planted.patient_scores(*attacked.planted.sides.rows())),
        planted_as=PLANTED_AS,
    )


def rates_of(scored: Scored) -> dict[str, Any]:
    """Return the shares found at each rate (None where patients cannot resolve it) and the balanced accuracy."""
    scores = scored.patient_scores(*scored.sides.rows())
    found = {f"tpr_at_{fpr:g}": tpr_at_fpr(*scores, fpr)[0] for fpr in RATES.values()}
    finite_ones = {name: value if np.isfinite(value) else None for name, value in found.items()}
    return {**finite_ones, "balanced_accuracy": balanced_accuracy(*scores)}


def _judge_accuracy(value: float, chance: float) -> Judgement:
    rule = (
        f"good up to the 97.5 % point for shuffled patients ({chance:.2f}), do not share above that and 0.75; "
        "look closer otherwise"
    )
    if value <= chance:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if value > 0.75 else LOOK, rule)


def _rate_figure(
    name: str,
    title: str,
    fpr: float,
    scores: tuple[np.ndarray, np.ndarray],
    planted: tuple[np.ndarray, np.ndarray],
    attacked: Attacked,
) -> Figure:
    member, other = scores
    made_with = attacked.base_made_with
    value, low, high = tpr_at_fpr(member, other, fpr)
    if not np.isfinite(value):
        why = (
            f"{len(other)} held-out patients cannot resolve a false positive rate of {fpr:.0%}; "
            f"{round(1 / fpr)} are needed."
        )
        return not_computed("privacy", name, title, why, attacked.n, made_with)
    chance = chance_upper(len(member), int(np.floor(fpr * len(other) + 1e-9)), len(other))
    leak = tpr_at_fpr(*planted, fpr)[0]
    return judged(
        "privacy",
        name,
        title,
        Measured(value, (low, high), fpr, (0.0, chance)),
        judge_rate_found(value, (low, high), fpr, chance),
        f"The attack finds {value:.0%} of the training patients; chance finds {fpr:.0%}, by luck up to {chance:.0%}.",
        better="nearer floor",
        n=attacked.n,
        made_with=made_with,
        planted=leak if np.isfinite(leak) else None,
        planted_as=PLANTED_AS,
    )


def chance_upper(members: int, allowed: int, others: int) -> float:
    """Return the 97.5 % point of the share found by chance, the threshold itself being random.

    With exchangeable scores the number of members above the (allowed + 1)-th largest of the others is negative
    hypergeometric, i.e. beta-binomial.

    >>> round(chance_upper(100, 10, 100), 2)
    0.2
    """
    from scipy.stats import betabinom

    return float(betabinom.ppf(0.975, members, allowed + 1, others - allowed) / members)
