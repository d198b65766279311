"""Whether three sets can be compared at all; checked before anything is trained."""

from __future__ import annotations

import numpy as np

from cmrsynth.data.loading import SliceSet
from cmrsynth.errors import InputError

MIN_SLICES = 8  # the manifold figures compare with a fifth neighbour


def check_sets(train: SliceSet, holdout: SliceSet, synthetic: SliceSet) -> tuple[int, ...]:
    """Return the foreground labels that all three sets annotate.

    Raises:
        InputError: training and holdout share a patient; sizes or labels differ; a set is too small, or its images
            are not finite values in [0, 1].
    """
    shared = sorted(set(train.patients) & set(holdout.patients))
    if shared:
        raise InputError(
            holdout.name,
            f"shares {len(shared)} patients with {train.name}: {', '.join(shared[:3])}{' ...' * (len(shared) > 3)}",
            "split by patient; nothing measured on a patient that was trained on can be believed",
        )
    for part in (train, holdout, synthetic):
        _check_set(part)
    for part in (holdout, synthetic):
        if part.images.shape[1:] != train.images.shape[1:]:
            raise InputError(
                part.name,
                f"images of {part.images.shape[1:]} pixels, but {train.name} has {train.images.shape[1:]}",
                "build all sets with one --size, and generate from masks of that data set",
            )
    labels = tuple(sorted(set(train.annotated_labels) & set(holdout.annotated_labels)))
    if labels and not synthetic.annotated_labels:
        raise InputError(
            synthetic.name,
            "has no masks, as is right for a generator that takes none, but adherence, anatomy and utility need them",
            "judge it by `cmrsynth compare` and `cmrsynth audit`, which need no masks",
        )
    if not labels or not set(labels) <= set(synthetic.annotated_labels):
        raise InputError(
            synthetic.name,
            f"annotates labels {synthetic.annotated_labels}, the real sets share {labels}",
            "compare data sets with the same labels, and generate from masks that carry them",
        )
    return labels


def _check_set(part: SliceSet) -> None:
    if len(part) < MIN_SLICES:
        raise InputError(part.name, f"only {len(part)} slices", f"give at least {MIN_SLICES}")
    if part.masks.shape != part.images.shape:
        raise InputError(part.name, f"images {part.images.shape} but masks {part.masks.shape}", "build it again")
    if not np.isfinite(part.images).all() or part.images.min() < 0 or part.images.max() > 1:
        raise InputError(part.name, "images hold values outside [0, 1] or NaN", "build or generate it again")


def mask_origin(train: SliceSet, holdout: SliceSet, synthetic: SliceSet) -> str:
    """Return whose masks conditioned the synthetic set: "train", "holdout", "train and holdout" or "other".

    This changes how privacy figures read: an image made from a training patient's mask resembles that patient's
    image in shape even where nothing was memorised.
    """
    patients = set(synthetic.patients)
    found = [name for name, part in (("train", train), ("holdout", holdout)) if patients & set(part.patients)]
    return " and ".join(found) or "other"


def training_part(holdout: SliceSet, synthetic: SliceSet) -> tuple[SliceSet, bool]:
    """Return the synthetic images that may train a network tested on `holdout`, and whether that is optimistic.

    An image made from a held-out patient's mask carries that patient's anatomy, so a network trained on it is
    tested on shapes it has seen. Such images are left out where enough others remain; where not (the second value
    is True), all are used and the utility figures say so.
    """
    others = ~np.isin(synthetic.patient_id, holdout.patients)
    if others.all():
        return synthetic, False
    if others.sum() < MIN_SLICES:
        return synthetic, True
    return synthetic.select(others), False
