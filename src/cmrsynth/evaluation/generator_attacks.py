"""Every figure that needs the generator itself, from one run of the attacks."""

from __future__ import annotations

from typing import Any

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.attack_scores import attack_generator
from cmrsynth.evaluation.figure import Figure
from cmrsynth.evaluation.leakage import leakage_figures
from cmrsynth.evaluation.membership_attack import membership_figures
from cmrsynth.evaluation.overfitting import overfitting_figures
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.target import Discriminator


def generator_figures(
    model: Any,
    train: SliceSet,
    holdout: SliceSet,
    settings: EvaluationSettings,
    *,
    discriminator: Discriminator | None = None,
) -> list[Figure]:
    """Return the figures on membership, overfitting and leakage by condition; the attacks run once for all.

    Args:
        model: the pipeline, or None; then every figure says that it is missing.
        train: the slices it was trained on.
        holdout: slices of other patients.
        settings: attacks, draws, resamples and seed.
        discriminator: of a GAN, see `attack_generator`.

    Raises:
        InputError: the pipeline makes images of another size.
    """
    attacked = attack_generator(model, train, holdout, settings, discriminator=discriminator)
    given = (model, train, holdout, settings, attacked)
    return [*membership_figures(*given), *overfitting_figures(*given), *leakage_figures(*given)]
