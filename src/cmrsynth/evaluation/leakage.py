"""Leakage by condition: whose membership shows most, and does the generator betray attributes of its patients?"""

from __future__ import annotations

from typing import Any

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.attack_scores import PLANTED_AS, Attacked, Refused, attack_generator
from cmrsynth.evaluation.attack_statistics import SHUFFLES, Scored, Sides, central, interval_of_share
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, Figure
from cmrsynth.evaluation.floors import Measured, cut, finite
from cmrsynth.evaluation.judged import judged, not_computed
from cmrsynth.evaluation.membership_attack import judge_strongest
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.target import Target
from cmrsynth.evaluation.verdict import Judgement
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.membership import auc
from cmrsynth.schema import ATTRIBUTES, UNKNOWN

GROUP_TITLE = "Membership attack within subgroups: highest AUC over patients"
INFERENCE_TITLE = "Attribute inference ({}): accuracy on training patients above that on others"
MIN_PATIENTS = 5  # of a subgroup, on each side
SLICES = 6  # per patient, for attribute inference


def leakage_figures(
    model: Any,
    train: SliceSet,
    holdout: SliceSet,
    settings: EvaluationSettings,
    attacked: Attacked | Refused | None = None,
) -> list[Figure]:
    """Return the membership AUC of the most exposed subgroup, and the advantage of inferring each attribute.

    Args:
        model: the pipeline, or None.
        train: the slices it was trained on.
        holdout: slices of other patients.
        settings: draws, resamples and seed.
        attacked: what `attack_generator` returned for the same arguments, where it was called already.
    """
    attacked = attacked or attack_generator(model, train, holdout, settings)
    n = {"members": len(train.patients), "nonmembers": len(holdout.patients)}
    vocabularies = _vocabularies(model)
    names = {name: INFERENCE_TITLE.format(name) for name in vocabularies} or {"any": INFERENCE_TITLE.format("any")}
    if isinstance(attacked, Refused):
        titles = {"membership_worst_group": GROUP_TITLE, **{f"attribute_inference_{k}": v for k, v in names.items()}}
        return [not_computed("privacy", name, title, attacked.why, n, "none") for name, title in titles.items()]
    figures = [_group_figure(attacked, train, holdout, settings)]
    if not vocabularies:
        why = "The generator is conditioned on no attribute of at least two values, so it cannot betray any."
        return [*figures, not_computed("privacy", "attribute_inference_any", names["any"], why, n, "none")]
    return figures + [
        _inference_figure(attacked.target, name, values, (train, holdout), settings)
        for name, values in vocabularies.items()
    ]


def _group_figure(attacked: Attacked, train: SliceSet, holdout: SliceSet, settings: EvaluationSettings) -> Figure:
    scored, name = attacked.base, "membership_worst_group"
    groups = _groups(scored.sides, train, holdout)
    made_with = attacked.base_made_with
    if len(groups) < 2:
        why = f"No two subgroups have {MIN_PATIENTS} training and {MIN_PATIENTS} held-out patients each."
        return not_computed("privacy", name, GROUP_TITLE, why, attacked.n, made_with)
    found = _group_aucs(scored, groups, *scored.sides.rows())
    interval = bootstrap_patients(
        lambda *rows: _highest(_group_aucs(scored, groups, *scored.sides.pooled(*rows))),
        scored.sides.groups,
        resamples=settings.resamples,
        seed=settings.seed,
    )
    shuffles = [scored.sides.shuffled(draw, settings.seed) for draw in range(SHUFFLES)]
    null = np.array([_highest(_group_aucs(scored, groups, *rows)) for rows in shuffles])
    value, worst = _highest(found), max(found, key=found.__getitem__)
    floor = null[np.isfinite(null)]
    measured = Measured(value, interval_of_share(value, interval, scored.sides), float(floor.mean()), central(floor))
    judgement = judge_strongest(value, measured.interval, measured.floor_interval[1])
    sentence = (
        "No subgroup of patients is exposed more than luck explains"
        if judgement.verdict == GOOD
        else f"Patients of the subgroup {worst} are exposed"
    )
    return judged(
        "privacy",
        name,
        GROUP_TITLE,
        measured,
        judgement,
        f"{sentence} (highest AUC {value:.2f}, {worst}; shuffled patients reach {measured.floor:.2f}).",
        better="nearer floor",
        n=attacked.n,
        made_with=made_with,
        details={"worst": worst, "groups": found, "patients": _counts(scored.sides, groups)},
        planted=_planted_highest(attacked, train, holdout),
        planted_as=PLANTED_AS,
    )


def _groups(sides: Sides, train: SliceSet, holdout: SliceSet) -> dict[str, np.ndarray]:
    """Return, per "attribute = value" with enough patients on both sides, the (N,) mask of its slices."""
    found = {}
    for attribute in ATTRIBUTES:
        values = np.concatenate([getattr(part, attribute) for part in (train, holdout)])
        for value in sorted(set(values.tolist()) - {UNKNOWN}):
            mask = values == value
            if min(_patients(sides, mask)) >= MIN_PATIENTS and not mask.all():
                found[f"{attribute} = {value}"] = mask
    return found


def _patients(sides: Sides, mask: np.ndarray) -> tuple[int, int]:
    is_member = np.arange(len(mask)) < sides.members
    return tuple(len(np.unique(sides.patient[mask & side])) for side in (is_member, ~is_member))


def _counts(sides: Sides, groups: dict[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: list(_patients(sides, mask)) for name, mask in groups.items()}


def _group_aucs(
    scored: Scored, groups: dict[str, np.ndarray], member_rows: np.ndarray, other_rows: np.ndarray
) -> dict[str, float]:
    """Return the AUC over patients of each group.

    The adjustment for difficulty is fitted within the group: a strong leak in one would distort it for the others.
    """
    rows = {name: (member_rows[mask[member_rows]], other_rows[mask[other_rows]]) for name, mask in groups.items()}
    return {name: auc(*scored.patient_scores(*own)) for name, own in rows.items() if len(own[0]) and len(own[1])}


def _highest(found: dict[str, float]) -> float:
    return max(found.values(), default=float("nan"))


def _planted_highest(attacked: Attacked, train: SliceSet, holdout: SliceSet) -> float | None:
    if len(attacked.planted.sides.patient) != len(train) + len(holdout):
        return None  # planted on some of the patients only
    sides = attacked.planted.sides
    return _highest(_group_aucs(attacked.planted, _groups(sides, train, holdout), *sides.rows()))


def _vocabularies(model: Any) -> dict[str, list[str]]:
    config = getattr(getattr(model, "condition_encoder", None), "config", None)
    known = getattr(config, "vocabularies", None) or {}
    return {name: list(values) for name, values in known.items() if name in ATTRIBUTES and len(values) > 1}


def _inference_figure(
    target: Target, attribute: str, values: list[str], parts: tuple[SliceSet, SliceSet], settings: EvaluationSettings
) -> Figure:
    name, title = f"attribute_inference_{attribute}", INFERENCE_TITLE.format(attribute)
    parts = tuple(_some_slices(part.select(np.isin(getattr(part, attribute), values))) for part in parts)
    n = {"members": len(parts[0].patients), "nonmembers": len(parts[1].patients)}
    made_with = f"the value of lowest {target.probe_made_with}, up to {SLICES} slices a patient"
    if min(n.values()) < MIN_PATIENTS:
        why = f"Fewer than {MIN_PATIENTS} patients of a side have a known {attribute}."
        return not_computed("privacy", name, title, why, n, made_with)
    right = np.concatenate([_is_right(target, attribute, values, part) for part in parts])
    patients = np.unique(np.concatenate([part.patient_id for part in parts]), return_inverse=True)[1]
    sides = Sides(len(parts[0]), patients, np.zeros((len(patients), 1)))
    scored = Scored(right[:, None].astype(float), "mean", sides, settings.seed)
    interval = bootstrap_patients(
        lambda *rows: _advantage(scored, *sides.pooled(*rows)),
        sides.groups,
        resamples=settings.resamples,
        seed=settings.seed,
    )
    null = np.array([_advantage(scored, *sides.shuffled(draw, settings.seed)) for draw in range(SHUFFLES)])
    value = _advantage(scored, *sides.rows())
    measured = Measured(value, cut(finite(interval), (-1.0, 1.0)), float(null.mean()), central(null))
    accuracy = [float(scored.mean_by_patient(right[rows], rows).mean()) for rows in sides.rows()]
    judgement = judge_advantage(measured)
    sentence = (
        f"The generator gives the {attribute} of a training patient away no better than that of others"
        if judgement.verdict == GOOD
        else f"The generator gives the {attribute} of a training patient away better than that of others"
    )
    return judged(
        "privacy",
        name,
        title,
        measured,
        judgement,
        f"{sentence} (right for {accuracy[0]:.0%} of training and {accuracy[1]:.0%} of held-out slices).",
        better="nearer floor",
        n=n,
        made_with=made_with,
        details={"accuracy_members": accuracy[0], "accuracy_nonmembers": accuracy[1], "values": values},
    )


def judge_advantage(measured: Measured) -> Judgement:
    """Judge how much better an attribute is inferred for training patients.

    >>> [judge_advantage(Measured(v, (v - 0.1, v + 0.1), 0, (-0.15, 0.15))).verdict for v in (0.1, 0.2, 0.5)]
    ['good', 'look closer', 'do not share']
    """
    top = measured.floor_interval[1]
    low = measured.interval[0] if measured.interval else measured.value
    rule = (
        f"good if the interval reaches 0 or the advantage is within that of shuffled patients (up to {top:.2f}); "
        "do not share above 0.3; look closer otherwise"
    )
    if low <= 0 or measured.value <= top:
        return Judgement(GOOD, rule)
    return Judgement(DO_NOT_SHARE if measured.value > 0.3 else LOOK, rule)


def _advantage(scored: Scored, member_rows: np.ndarray, other_rows: np.ndarray) -> float:
    means = [scored.mean_by_patient(scored.features[rows, 0], rows).mean() for rows in (member_rows, other_rows)]
    return float(means[0] - means[1])


def _is_right(target: Target, attribute: str, values: list[str], part: SliceSet) -> np.ndarray:
    """Return (N,) whether the value under which the generator expects a slice most is the true one."""
    scores = [target.probe(part, **{attribute: value}) for value in values]
    return np.array(values)[np.argmax(scores, axis=0)] == getattr(part, attribute)


def _some_slices(part: SliceSet) -> SliceSet:
    rows = [np.flatnonzero(part.patient_id == p) for p in part.patients]
    kept = [own[np.unique(np.linspace(0, len(own) - 1, SLICES).round().astype(int))] for own in rows]
    return part.select(np.sort(np.concatenate(kept))) if kept else part
