"""Every attack on one generator, run once: the scores behind the figures on membership, overfitting and leakage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError
from cmrsynth.evaluation.attack_statistics import Scored, Sides
from cmrsynth.evaluation.blind import blind_check
from cmrsynth.evaluation.figure import LOOK, NOT_COMPUTED
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.target import Discriminator, Target, target_of
from cmrsynth.metrics.membership import image_difficulty
from cmrsynth.seeds import derive_seed

ADJUSTED = "adjusted for image difficulty"
PLANTED_AS = "a generator that memorised these training images"
PLANTED_SLICES = 1000  # a side; the memoriser compares every slice with every member


@dataclass(frozen=True)
class Refused:
    """Why the generator was not attacked.

    Args:
        why: a sentence for the reader.
        details: JSON-able numbers, such as those of the blind baseline.
        verdict: "look closer" where a generator was given that no attack can reach: that is no all-clear.
    """

    why: str
    details: dict[str, Any]
    verdict: str = NOT_COMPUTED


@dataclass(frozen=True)
class Attacked:
    """What every attack found.

    Args:
        attacks: per name; the target's base attack is always there.
        made_with: per name, what the attack did.
        planted: the base attack on a generator that memorised these very training images.
        blind: AUC and interval of the blind baseline.
        n: counts of patients and slices.
        target: the generator with its attacks.
    """

    attacks: dict[str, Scored]
    made_with: dict[str, str]
    planted: Scored
    blind: dict[str, Any]
    n: dict[str, int]
    target: Target

    @property
    def base(self) -> Scored:
        """The attack chosen beforehand."""
        return self.attacks[self.base_name]

    @property
    def base_name(self) -> str:
        """Its name."""
        return self.target.base

    @property
    def base_made_with(self) -> str:
        """What the base attack did, as a figure states it."""
        return f"{self.made_with[self.base_name]}, {ADJUSTED}"


def attack_generator(
    pipeline: Any,
    train: SliceSet,
    holdout: SliceSet,
    settings: EvaluationSettings,
    *,
    discriminator: Discriminator | None = None,
) -> Attacked | Refused:
    """Return the scores of all chosen attacks, or why there are none.

    Whether training and held-out images can be told apart without the generator is tested first; if they can, it is
    not attacked at all.

    Args:
        pipeline: of any family, see `cmrsynth.evaluation.target`; or None.
        train: the slices it was trained on; their own masks and attributes condition it.
        holdout: slices of other patients.
        settings: the attacks, noise draws, samples, resamples and seed.
        discriminator: of a GAN, for the attack that asks it; see `cmrsynth.training.gan_audit`.

    Raises:
        InputError: the pipeline makes images of another size.
    """
    if pipeline is None:
        why = "No pipeline was given, so the generator itself could not be attacked; add --pipeline."
        return Refused(why, {})
    patients = min(len(train.patients), len(holdout.patients))
    target = target_of(pipeline, settings, patients, discriminator)
    if target is None:
        why = (
            f"{type(pipeline).__name__} is of no family that the attacks know, so the model itself was not attacked: "
            "its images alone were looked at, and that is not enough to share the model."
        )
        return Refused(why, {}, verdict=LOOK)
    _check_size(pipeline, train)
    if patients < 2:
        return Refused("An attack is judged over patients, so at least two on each side are needed.", {})
    train, holdout = target.seen(train), target.seen(holdout)
    blind = blind_check(train, holdout, settings)
    if blind["shifted"]:
        return Refused(_shifted_text(blind["blind_auc"]), blind)
    sides, features = sides_of(train, holdout), target.features(train, holdout)
    scored = {name: Scored(found, target.fusion(name), sides, settings.seed) for name, found in features.items()}
    made_with = {name: target.made_with(name) for name in scored}
    n = {"members": len(train.patients), "nonmembers": len(holdout.patients), "slices": len(train) + len(holdout)}
    return Attacked(scored, made_with, _planted(target, train, holdout, settings.seed), blind, n, target)


def _shifted_text(blind_auc: float) -> str:
    return (
        f"Training and held-out images can be told apart without the model (blind AUC {blind_auc:.2f}): the split is "
        "shifted, so whatever an attack found could be read neither as a leak nor as safety. Split one pool of "
        "patients at random, train again, and repeat."
    )


def sides_of(train: SliceSet, holdout: SliceSet) -> Sides:
    """Return who is who among the slices of both sets."""
    patient = np.unique(np.concatenate([train.patient_id, holdout.patient_id]), return_inverse=True)[1]
    difficulty = np.concatenate([image_difficulty(part.images) for part in (train, holdout)])
    return Sides(len(train), patient, difficulty)


def _planted(target: Target, train: SliceSet, holdout: SliceSet, seed: int) -> Scored:
    parts = [_some_patients(part, seed) for part in (train, holdout)]
    return Scored(target.planted(*parts), target.fusion(target.base), sides_of(*parts), seed)


def _some_patients(part: SliceSet, seed: int) -> SliceSet:
    rng = np.random.default_rng(derive_seed(seed, "planted patients"))
    counts = np.array([(part.patient_id == p).sum() for p in part.patients])
    order = rng.permutation(len(counts))
    kept = order[np.cumsum(counts[order]) <= max(PLANTED_SLICES, counts[order[0]])]
    return part.select(np.isin(part.patient_id, np.array(part.patients)[kept]))


def _check_size(pipeline: Any, train: SliceSet) -> None:
    side = getattr(pipeline, "sample_size", None)
    if side is None or train.images.shape[1:] == (side,) * 2:
        return
    raise InputError(
        "--pipeline",
        f"it makes images of {side} pixels, {train.name} has {train.images.shape[1:]}",
        "evaluate the pipeline on the data it was trained on",
    )
