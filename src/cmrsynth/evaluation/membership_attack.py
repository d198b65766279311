"""Membership inference against the generator itself: can whoever holds it tell who it was trained on?

The headline rests on one attack that was chosen beforehand for each family (of a flow the velocity error around the
middle of the path, where its signal peaks: Rao and Moyer 2026, arXiv:2603.13421; of a GAN the nearest sample or, with
a style encoder, the reconstruction; of an autoencoder the reconstruction): its chance level is 0.5, and it can be
compared between reports. The strongest of all attacks has more power and stands beside it; picking the largest of
several AUCs lifts it above 0.5 even where nothing leaks, so it is judged by what the strongest reaches when the
patients' sides are shuffled. Whether training and held-out images could be told apart without any model is tested
first: if they can, an attack that "works" shows a difference of scanners or sites, not a leak (Das et al. 2024,
arXiv:2406.16201), and nothing is reported.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.attack_scores import ADJUSTED, PLANTED_AS, Attacked, Refused, attack_generator
from cmrsynth.evaluation.attack_statistics import aucs_with_intervals, central, null_aucs
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Interval, Measured
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.membership_rates import balanced_accuracy_figure, rate_figures, rates_of
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.target_denoiser import AUTOENCODER
from cmrsynth.evaluation.verdict import Judgement, judge_attack

TITLES = {
    "membership_auc": "Membership attack on the generator: AUC over patients",
    "membership_strongest_auc": "Strongest of several membership attacks: AUC over patients",
    "membership_autoencoder_auc": "Membership attack on the autoencoder alone: AUC over patients",
    "membership_tpr": "Training patients found while 10 % of the others are accused",
    "membership_tpr_5": "Training patients found while 5 % of the others are accused",
    "membership_tpr_1": "Training patients found while 1 % of the others are accused",
    "membership_balanced_accuracy": "Membership attack: best balanced accuracy over patients",
}


def membership_figures(
    model: Any,
    train: SliceSet,
    holdout: SliceSet,
    settings: EvaluationSettings,
    attacked: Attacked | Refused | None = None,
) -> list[Figure]:
    """Return what membership attacks on the generator find.

    Without a pipeline, or where training and held-out images differ by their looks alone, the figures have no value
    and say why.

    Args:
        model: the pipeline, or None; see `attack_generator`.
        train: the slices it was trained on.
        holdout: slices of other patients.
        settings: attacks, draws, resamples and seed.
        attacked: what `attack_generator` returned for the same arguments, where it was called already.
    """
    attacked = attacked or attack_generator(model, train, holdout, settings)
    if isinstance(attacked, Refused):
        n = {"members": len(train.patients), "nonmembers": len(holdout.patients), "slices": len(train) + len(holdout)}
        refused = [not_computed("privacy", name, title, attacked.why, n, "none") for name, title in TITLES.items()]
        refused = [replace(figure, details=attacked.details) for figure in refused]
        return [replace(refused[0], verdict=attacked.verdict), *refused[1:]]
    found = aucs_with_intervals(attacked.attacks, settings.resamples, settings.seed)
    null = null_aucs(attacked.attacks, settings.seed)
    return [
        _auc_figure(attacked, *found[attacked.base_name], null[attacked.base_name]),
        _strongest_figure(attacked, found, null),
        _autoencoder_figure(attacked, found, null),
        *rate_figures(attacked, TITLES),
        balanced_accuracy_figure(attacked, settings, TITLES["membership_balanced_accuracy"]),
    ]


def judge_strongest(value: float, interval: Interval | None, chance: float) -> Judgement:
    """Judge the largest AUC of several attacks by what it is for shuffled patients.

    >>> [judge_strongest(v, (v - 0.1, 1.0), 0.65).verdict for v in (0.6, 0.68, 0.9)]
    ['good', 'look closer', 'do not share']
    """
    low = interval[0] if interval else value
    rule = (
        f"good up to the 97.5 % point of the strongest attack on shuffled patients ({chance:.2f}); do not share above "
        "that and 0.7 if the interval also excludes 0.5; look closer otherwise"
    )
    if value <= chance:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if value > 0.7 and low > 0.5 else LOOK, rule)


def _auc_figure(attacked: Attacked, value: float, interval: Interval | None, null: np.ndarray) -> Figure:
    measured = Measured(value, interval, 0.5, central(null))
    judgement = judge_attack(value, interval, chance=measured.floor_interval[1])
    rows = attacked.base.sides.rows()
    member, other = attacked.base.patient_scores(*rows)
    few = f" {attacked.n['nonmembers']} held-out patients can only show a strong leak."
    if judgement.verdict == GOOD:
        sentence = "The attack cannot tell training patients from others."
    elif value <= 0.6:
        sentence = "The attack finds no leak, but with so few patients it could have missed a strong one."
    elif interval is not None and interval[0] <= 0.5:
        sentence = "The attack does better than chance, but with so few patients that this may be luck."
    else:
        sentence = (
            "The generator behaves differently on patients it was trained on: whoever holds the model can tell who "
            "they were. The figures on distances say what its images alone give away."
        )
    reading = (
        f"{sentence} (AUC {value:.2f}, 0.5 is chance; without the model {attacked.blind['blind_auc']:.2f}; a "
        f"generator that memorised would give {_planted_auc(attacked):.2f}.){few * (attacked.n['nonmembers'] < 20)}"
    )
    return judged(
        "privacy",
        "membership_auc",
        TITLES["membership_auc"],
        measured,
        judgement,
        reading,
        better="nearer floor",
        n=attacked.n,
        made_with=attacked.base_made_with,
        headline=True,
        details={
            "auc": value,
            "auc_interval": interval,
            "member_scores": member.tolist(),
            "nonmember_scores": other.tolist(),
            "auc_by_time": _auc_by_time(attacked),
            **attacked.blind,
        },
        planted=_planted_auc(attacked),
        planted_as=PLANTED_AS,
    )


def _autoencoder_figure(
    attacked: Attacked, found: dict[str, tuple[float, Interval | None]], null: dict[str, np.ndarray]
) -> Figure:
    """Return the attack on the autoencoder of a latent generator: one that was fitted on patients leaks by itself."""
    name, title = "membership_autoencoder_auc", TITLES["membership_autoencoder_auc"]
    if AUTOENCODER not in attacked.attacks:
        why = "The generator has no autoencoder beside the model that was attacked."
        return not_computed("privacy", name, title, why, attacked.n, "none")
    value, interval = found[AUTOENCODER]
    measured = Measured(value, interval, 0.5, central(null[AUTOENCODER]))
    judgement = judge_attack(value, interval, chance=measured.floor_interval[1])
    sentence = {
        GOOD: "The autoencoder rebuilds training patients no better than others",
        LOOK: "The autoencoder may rebuild training patients better than others",
        DO_NOT_SHARE: "The autoencoder rebuilds training patients better than others: it leaks, whatever the model in "
        "its latent space does",
    }[judgement.verdict]
    return judged(
        "privacy",
        name,
        title,
        measured,
        judgement,
        f"{sentence} (AUC {value:.2f}, 0.5 is chance).",
        better="nearer floor",
        n=attacked.n,
        made_with=f"{attacked.made_with[AUTOENCODER]}, {ADJUSTED}",
    )


def _strongest_figure(
    attacked: Attacked, found: dict[str, tuple[float, Interval | None]], null: dict[str, np.ndarray]
) -> Figure:
    name = max(attacked.attacks, key=lambda attack: found[attack][0])
    value, interval = found["strongest"]
    measured = Measured(value, interval, float(null["strongest"].mean()), central(null["strongest"]))
    judgement = judge_strongest(value, interval, measured.floor_interval[1])
    chance = float((1 + (null["strongest"] >= value).sum()) / (1 + len(null["strongest"])))
    sentence = (
        "No attack tells training patients from others better than it would by luck."
        if judgement.verdict == GOOD
        else f"The attack {name!r} tells training patients from others better than luck explains."
    )
    return judged(
        "privacy",
        "membership_strongest_auc",
        TITLES["membership_strongest_auc"],
        measured,
        judgement,
        f"{sentence} (AUC {value:.2f}; the strongest of {len(attacked.attacks)} attacks reaches this on shuffled "
        f"patients with a probability of {chance:.2g}; only a leak above {measured.floor_interval[1]:.2f} can show.)",
        better="nearer floor",
        n=attacked.n,
        made_with=f"the largest of: {'; '.join(attacked.made_with.values())}; {ADJUSTED}",
        details={
            "strongest": name,
            "probability_by_chance": chance,
            "attacks": {attack: _row(attacked, attack, found[attack], null[attack]) for attack in attacked.attacks},
        },
        planted=_planted_auc(attacked),
        planted_as=f"{PLANTED_AS} (attack {attacked.base_name!r} alone)",
    )


def _row(attacked: Attacked, name: str, found: tuple[float, Interval | None], null: np.ndarray) -> dict[str, Any]:
    return {
        "made_with": attacked.made_with[name],
        "auc": found[0],
        "auc_interval": found[1],
        "chance": central(null),
        **rates_of(attacked.attacks[name]),
    }


def _auc_by_time(attacked: Attacked) -> list[float]:
    columns = attacked.base.features.T
    rows = attacked.base.sides.rows()
    return [replace(attacked.base, features=column[:, None]).auc(*rows) for column in columns]


def _planted_auc(attacked: Attacked) -> float:
    return attacked.planted.auc(*attacked.planted.sides.rows())
