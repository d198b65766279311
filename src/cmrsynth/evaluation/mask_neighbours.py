"""Are generated masks those of training patients? The nearest masks of training and of held-out patients tell.

An image set made from real masks carries them openly, so this is asked of generated masks alone.
"""

from __future__ import annotations

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.evaluation.audit import Audit
from cmrsynth.evaluation.distances import Distances
from cmrsynth.evaluation.figure import Figure
from cmrsynth.evaluation.inputs import MIN_SLICES, mask_origin
from cmrsynth.evaluation.judged import not_computed
from cmrsynth.evaluation.privacy import closeness
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.metrics.mask_neighbours import dice_matrix
from cmrsynth.seeds import derive_seed

MADE_WITH = "1 - Dice over structures, centred on the heart"
PLANTED = 100  # training masks that stand for copies
FEW = 4  # patients on either side


def mask_neighbour_figure(
    train: SliceSet, holdout: SliceSet, synthetic: SliceSet, labels: tuple[int, ...], settings: EvaluationSettings
) -> Figure:
    """Return the share of generated masks closer to a training than to a held-out patient's mask; 0.5 is chance.

    Smooth, typical masks match everybody's well, so that only the comparison of both sides tells.

    Args:
        train: the slices whose masks were learned from.
        holdout: slices of other patients.
        synthetic: the set whose masks are judged.
        labels: structures that all three annotate.
        settings: resamples and seed.
    """
    audit = Audit(train, holdout, synthetic, settings)
    origin = mask_origin(train, holdout, synthetic)
    about = ("privacy", "closer_to_train_masks", "Closer to training than to held-out patients (masks)")
    if origin != "other":
        why = f"The masks are those of {origin} patients; whether masks are copies is asked of generated ones."
        return not_computed(*about, why, audit.n, MADE_WITH)
    if min(len(train.patients), len(holdout.patients)) < FEW or len(synthetic) < MIN_SLICES:
        why = f"This needs at least {FEW} training and {FEW} held-out patients, and {MIN_SLICES} generated masks."
        return not_computed(*about, why, audit.n, MADE_WITH)
    return closeness(audit, mask_distances(train, holdout, synthetic, labels))


def mask_distances(train: SliceSet, holdout: SliceSet, synthetic: SliceSet, labels: tuple[int, ...]) -> Distances:
    """Return 1 - Dice between the masks of all sets; what is planted are training masks as they are."""
    parts = {"synthetic": synthetic, "train": train, "holdout": holdout}
    masks = {name: np.where(np.isin(part.masks, labels), part.masks, 0) for name, part in parts.items()}
    copied = np.random.default_rng(derive_seed(0, "copied masks")).integers(0, len(train), PLANTED)
    masks["planted"] = masks["train"][copied]
    pairs = [(a, b) for a in ("synthetic", "planted") for b in ("train", "holdout")]
    pairs += [("holdout", "train"), ("holdout", "holdout")]
    return Distances("masks", MADE_WITH, **{f"{a}_{b}": 1 - dice_matrix(masks[a], masks[b]) for a, b in pairs})
