"""Controls: real patients and harmless changes of them, which no figure may accuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from cmrsynth.certification.entries import Control, ImageCase
from cmrsynth.certification.families import (
    ADHERENCE,
    DISTANCES,
    FEATURES,
    MEMORY,
    RECOGNITION,
    SHOWN,
    TEXTURE,
)
from cmrsynth.certification.ground import Ground
from cmrsynth.certification.hearts import hearts
from cmrsynth.certification.planting import only, shifted
from cmrsynth.data.loading import SliceSet

MANIFOLD = ("kernel_distance", "precision", "recall", "density", "coverage")
GREY_LEVELS = 1023  # a repeat build rounds otherwise and lays its grid a little aside
SIDE = 64


def real(ground: Ground) -> ImageCase:
    """Return further real patients in the place of synthetic images."""
    return ImageCase(ground.train, ground.holdout, ground.third)


def drawn(name: str, patients: int, seed: int) -> Callable[[Ground], ImageCase]:
    """Return the maker of a case with patients drawn anew."""

    def make(ground: Ground) -> ImageCase:
        return ImageCase(ground.train, ground.holdout, ground.draw(name, patients, seed))

    return make


def held_out(ground: Ground) -> ImageCase:
    """Return the held-out images themselves."""
    return ImageCase(ground.train, ground.holdout, ground.holdout)


def rebuilt(ground: Ground) -> ImageCase:
    """Return real patients as another build would give them: a tenth of a pixel aside, rounded otherwise."""
    moved = shifted(ground.third, 0.1)
    rounded = np.round(moved.images * GREY_LEVELS) / GREY_LEVELS
    return ImageCase(ground.train, ground.holdout, replace(moved, images=rounded.astype(np.float32)))


def fewer(ground: Ground) -> ImageCase:
    """Return half of the patients."""
    kept = np.isin(ground.third.patient_id, ground.third.patients[::2])
    return ImageCase(ground.train, ground.holdout, ground.third.select(kept))


def one_vendor(ground: Ground) -> ImageCase:
    """Return sets that all know the same vendor only."""
    vendors, counts = np.unique(ground.train.vendor, return_counts=True)
    keep: Callable[[SliceSet], SliceSet] = partial(only, attribute="vendor", value=str(vendors[counts.argmax()]))
    return ImageCase(*(keep(part) for part in (ground.train, ground.holdout, ground.third)))


def larger_images(ground: Ground) -> ImageCase:
    """Return toy hearts at 64 pixels, judged by the network of the ground."""
    counts = {"train": len(ground.train.patients), "holdout": 12, "third": 12}
    return ImageCase(*(hearts(name, count, seed=n, side=SIDE) for n, (name, count) in enumerate(counts.items())))


def _draws(ground: Ground) -> str:
    return "" if ground.draw else "the data have no further patients"


def _vendors(ground: Ground) -> str:
    return "" if ground.has_values("vendor") else "the data know no two vendors"


IMAGE_CONTROLS = (
    Control(
        "other real patients",
        "real patients that are neither trained on nor held out",
        "fidelity",
        (*FEATURES, *TEXTURE, *ADHERENCE, *RECOGNITION, *SHOWN, *DISTANCES, *MEMORY, "pairwise_ms_ssim", "vendi_score"),
        real,
    ),
    Control(
        "other real patients, second draw",
        "the same with other patients",
        "fidelity",
        (*FEATURES, *TEXTURE, *DISTANCES, *MEMORY),
        drawn("fourth", 12, 3),
        needs=_draws,
    ),
    Control(
        "other real patients, third draw",
        "the same with other patients",
        "fidelity",
        (*ADHERENCE, *SHOWN, *DISTANCES, *MEMORY),
        drawn("fifth", 12, 4),
        needs=_draws,
    ),
    Control(
        "held-out images themselves",
        "the reference in the place of synthetic images",
        "fidelity",
        (*FEATURES, *TEXTURE, "near_copies", "closer_to_train_pixels", "check_sets"),
        held_out,
    ),
    Control(
        "repeat build",
        "real patients a tenth of a pixel aside and rounded otherwise",
        "fidelity",
        (*TEXTURE, "near_copies"),
        rebuilt,
    ),
    Control(
        "one vendor throughout",
        "sets that know one vendor only, as a study of one site does",
        "fidelity",
        (*TEXTURE, "near_copies", "closer_to_train_pixels"),
        one_vendor,
        needs=_vendors,
    ),
    Control(
        "many synthetic images",
        "twice as many real patients as held out",
        "fidelity",
        ("frechet_distance", *MANIFOLD, "near_copies"),
        drawn("crowd", 24, 5),
        needs=_draws,
    ),
    Control(
        "few synthetic images",
        "half as many real patients as held out",
        "fidelity",
        ("frechet_distance", *MANIFOLD, "near_copies"),
        fewer,
    ),
    Control(
        "images of 64 pixels",
        "another image size",
        "fidelity",
        (*TEXTURE, "near_copies"),
        larger_images,
        needs=_draws,
    ),
)
