"""Loss-based membership inference against a rectified-flow pipeline.

A model that has memorised a patient predicts the velocity of noised images of that patient too well. The signal
peaks in the middle of the path (Rao and Moyer 2026, arXiv:2603.13421), and averaging over noise lifts it. Whether
training and held-out images could be told apart without any model is tested first: if they can, an attack that
"works" shows a difference of scanners or sites, not a leak (Das et al. 2024, arXiv:2406.16201).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cmrsynth.conditions import known_conditions
from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.evaluation.fidelity import as_fields
from cmrsynth.evaluation.figure import GOOD, Figure
from cmrsynth.evaluation.floors import Interval, Measured, cut, finite
from cmrsynth.evaluation.judged import not_computed
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.verdict import judge_attack, judge_found
from cmrsynth.labels import one_hot
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.membership import (
    adjust_for_difficulty,
    aggregate_by_patient,
    auc,
    blind_baseline,
    image_difficulty,
    tpr_at_fpr,
)
from cmrsynth.seeds import derive_seed, torch_generator

if TYPE_CHECKING:
    from torch import Tensor

TIMES = (0.3, 0.5, 0.7)
FPR = 0.1
TITLES = {
    "membership_auc": "Membership attack on the generator: AUC over patients",
    "membership_tpr": "Training patients found while 10 % of the others are accused",
}


class VelocityModel(Protocol):
    """What the attack needs of a pipeline."""

    def velocity(self, sample: Tensor, t: Tensor, mask: Tensor, **attributes: list[str]) -> Tensor:
        """Return the (B, 1, H, W) velocity (noise - image) at the points `sample` and times `t` (B,)."""
        ...


def velocity_scores(model: VelocityModel, part: SliceSet, *, draws: int, seed: int) -> np.ndarray:
    """Return (N,) scores, higher for members: minus the velocity error, averaged over times and noise draws.

    Every image meets the same noise, so scores differ by the images alone.

    Args:
        model: the pipeline.
        part: the slices to score; their own masks and attributes condition the model.
        draws: noise draws at each of the times 0.3, 0.5 and 0.7.
        seed: names the noise.
    """
    import torch
    from rich.progress import track

    image = torch.from_numpy(part.images.astype(np.float32))[:, None] * 2 - 1
    mask = one_hot(torch.from_numpy(part.masks))
    attributes = known_conditions(model, part) if hasattr(model, "condition_encoder") else {}
    noises = [
        torch.randn((1, *image.shape[1:]), generator=torch_generator(seed, "membership noise", d)) for d in range(draws)
    ]
    total = np.zeros(len(part))
    with torch.inference_mode():
        for start in track(range(0, len(part), 32), description=f"Attacking with {part.name}", transient=True):
            rows = slice(start, start + 32)
            x, condition = image[rows], {name: values[rows] for name, values in attributes.items()}
            for noise in noises:
                for time in TIMES:
                    point, t = (1 - time) * x + time * noise, torch.full((len(x),), time)
                    velocity = model.velocity(point, t, mask[rows], **condition)
                    total[rows] -= ((velocity - (noise - x)) ** 2).mean((1, 2, 3)).double().numpy()
    return total / (draws * len(TIMES))


def membership_figures(
    model: VelocityModel | None, train: SliceSet, holdout: SliceSet, settings: EvaluationSettings
) -> list[Figure]:
    """Return the AUC over patients and the share found at 10 % false positives.

    Without a pipeline, or where training and held-out images differ by their looks alone, the figures have no
    value; the numbers found all the same are in `details`.
    """
    n = {"members": len(train.patients), "nonmembers": len(holdout.patients), "slices": len(train) + len(holdout)}
    if model is None:
        why = "No pipeline was given, so the generator itself could not be attacked; add --pipeline."
        return [not_computed("privacy", name, title, why, n, "none") for name, title in TITLES.items()]
    _check_size(model, train)
    made_with = (
        f"velocity error at t = 0.3, 0.5, 0.7, {settings.membership_draws} noise draws, adjusted for image difficulty"
    )
    plain = [velocity_scores(model, p, draws=settings.membership_draws, seed=settings.seed) for p in (train, holdout)]
    difficulty = [image_difficulty(part.images) for part in (train, holdout)]
    scores = adjust_for_difficulty(*plain, *difficulty)
    member, other = (
        aggregate_by_patient(s, part.patient_id)[1] for s, part in zip(scores, (train, holdout), strict=True)
    )
    value, interval = _auc_with_interval(member, other, settings)
    details: dict[str, Any] = {
        "auc": value,
        "auc_interval": interval,
        "slice_auc": auc(*scores),
        "slice_auc_unadjusted": auc(*plain),
        "member_scores": member.tolist(),
        "nonmember_scores": other.tolist(),
        **_blind(train, holdout, settings),
    }
    blind = details["blind_interval"]
    if blind is not None and blind[0] > 0.5:
        why = (
            f"Training and held-out images can be told apart without the model (blind AUC {details['blind_auc']:.2f}), "
            f"so the attack's AUC of {value:.2f} cannot be read as a leak or as safety. Split one pool of patients at "
            "random, train again, and repeat."
        )
        refused = [not_computed("privacy", name, title, why, n, made_with) for name, title in TITLES.items()]
        return [replace(figure, details=details) for figure in refused]
    return [
        _auc_figure(
            value, interval, null_aucs(plain, difficulty, (train, holdout), settings.seed), details, n, made_with
        ),
        _found_figure(member, other, n, made_with),
    ]


def _check_size(model: VelocityModel, train: SliceSet) -> None:
    if hasattr(model, "unet") and train.images.shape[1:] != (model.unet.config.sample_size,) * 2:
        raise InputError(
            "--pipeline",
            f"it makes images of {model.unet.config.sample_size} pixels, {train.name} has {train.images.shape[1:]}",
            "evaluate the pipeline on the data it was trained on",
        )


def _auc_with_interval(
    member: np.ndarray, other: np.ndarray, settings: EvaluationSettings
) -> tuple[float, Interval | None]:
    interval = bootstrap_patients(
        lambda a, b: auc(member[a], other[b]),
        [np.arange(len(member)), np.arange(len(other))],
        resamples=settings.resamples,
        seed=settings.seed,
    )
    return auc(member, other), cut(finite(interval), (0.0, 1.0))


def _blind(train: SliceSet, holdout: SliceSet, settings: EvaluationSettings) -> dict[str, Any]:
    scores, labels = blind_baseline(
        train.images, holdout.images, train.patient_id, holdout.patient_id, derive_seed(settings.seed, "blind")
    )
    member, other = (
        aggregate_by_patient(scores[labels == label], part.patient_id)[1] for label, part in ((1, train), (0, holdout))
    )
    value, interval = _auc_with_interval(member, other, settings)
    return {"blind_auc": value, "blind_interval": interval}


def null_aucs(
    scores: list[np.ndarray],
    difficulty: list[np.ndarray],
    parts: tuple[SliceSet, SliceSet],
    seed: int,
    draws: int = 200,
) -> list[float]:
    """Return AUCs over patients whose sides were shuffled, so that membership means nothing.

    The adjustment for difficulty is fitted anew each time: it alone makes AUCs scatter more than patients do.
    """
    rng = np.random.default_rng(derive_seed(seed, "shuffled membership"))
    pooled, features = np.concatenate(scores), np.concatenate(difficulty)
    ids = np.concatenate([part.patient_id for part in parts])
    found = []
    for _ in range(draws):
        side = np.isin(ids, rng.permutation(np.unique(ids))[: len(parts[0].patients)])
        one, other = adjust_for_difficulty(pooled[side], pooled[~side], features[side], features[~side])
        found.append(auc(aggregate_by_patient(one, ids[side])[1], aggregate_by_patient(other, ids[~side])[1]))
    return found


def _auc_figure(
    value: float,
    interval: Interval | None,
    null: list[float],
    details: dict[str, Any],
    n: dict[str, int],
    made_with: str,
) -> Figure:
    measured = Measured(value, interval, 0.5, (float(np.quantile(null, 0.025)), float(np.quantile(null, 0.975))))
    judgement = judge_attack(value, interval, chance=measured.floor_interval[1])
    few = f" {n['nonmembers']} held-out patients can only show a strong leak." * (n["nonmembers"] < 20)
    if judgement.verdict == GOOD:
        sentence = "The attack cannot tell training patients from others."
    elif interval is not None and interval[0] <= 0.5:
        sentence = "The attack does better than chance, but with so few patients that this may be luck."
    else:
        sentence = (
            "The generator behaves differently on patients it was trained on: whoever holds the model can tell who "
            "they were. The figures on distances say what its images alone give away."
        )
    return Figure(
        axis="privacy",
        name="membership_auc",
        title=TITLES["membership_auc"],
        **as_fields(measured),
        unit="",
        better="nearer floor",
        n=n,
        made_with=made_with,
        verdict=judgement.verdict,
        reading=f"{sentence} (AUC {value:.2f}, 0.5 is chance; without the model {details['blind_auc']:.2f}.){few}",
        rule=judgement.rule,
        headline=True,
        details=details,
    )


def _found_figure(member: np.ndarray, other: np.ndarray, n: dict[str, int], made_with: str) -> Figure:
    value, low, high = tpr_at_fpr(member, other, FPR)
    title = TITLES["membership_tpr"]
    if not np.isfinite(value):
        why = f"{len(other)} held-out patients cannot resolve a false positive rate of 10 %; 10 are needed."
        return not_computed("privacy", "membership_tpr", title, why, n, made_with)
    judgement = judge_found((low, high), FPR)
    allowed = int(FPR * len(other))
    return Figure(
        axis="privacy",
        name="membership_tpr",
        title=title,
        value=value,
        interval=(low, high),
        floor=FPR,
        floor_interval=(0.0, _chance_upper(len(member), allowed, len(other))),
        unit="",
        better="nearer floor",
        n=n,
        made_with=made_with,
        verdict=judgement.verdict,
        reading=f"The attack finds {value:.0%} of the training patients; chance finds 10%.",
        rule=judgement.rule,
    )


def _chance_upper(members: int, allowed: int, others: int) -> float:
    """Return the 97.5 % point of the share found by chance, the threshold itself being random.

    With exchangeable scores the number of members above the (allowed + 1)-th largest of the others is negative
    hypergeometric, i.e. beta-binomial.
    """
    from scipy.stats import betabinom

    return float(betabinom.ppf(0.975, members, allowed + 1, others - allowed) / members)
