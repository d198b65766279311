"""Planted failures of privacy that show in the images, or in how the sets were made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from cmrsynth.certification.entries import REFUSED, ImageCase, Plant, Sign, refuses
from cmrsynth.certification.families import MEMORY
from cmrsynth.certification.ground import Ground
from cmrsynth.certification.planting import blurred, flipped, noisy, scaled, shifted, with_copies
from cmrsynth.data.loading import SliceSet

MANY = 50  # patients: enough slices for one in a hundred to be a whole one
REAL_LOOKING = ("sliced_wasserstein_heart", "spectrum_distance")


def copies(disguise: Callable[[SliceSet], SliceSet]) -> Callable[[Ground], ImageCase]:
    """Return the maker of a set that is the training set in disguise."""

    def make(ground: Ground) -> ImageCase:
        return ImageCase(ground.train, ground.holdout, disguise(ground.train))

    return make


def some_copies(share: float) -> Callable[[Ground], ImageCase]:
    """Return the maker of a set of other patients in which a share of the slices are training slices."""

    def make(ground: Ground) -> ImageCase:
        others = ground.draw("many", MANY, 7) if ground.draw else ground.third
        return ImageCase(ground.train, ground.holdout, with_copies(others, ground.train, share))

    return make


def other_frame(ground: Ground) -> ImageCase:
    """Return a case whose training set is end-diastole, and whose "synthetic" set the same patients' end-systole."""
    train, holdout = (part.select(part.phase == "ED") for part in (ground.train, ground.holdout))
    return ImageCase(train, holdout, ground.train.select(ground.train.phase == "ES"))


def shared_patient(ground: Ground) -> ImageCase:
    """Return a case in which one training patient is among the held-out ones."""
    patient = ground.holdout.patient_id.copy()
    patient[patient == patient[0]] = ground.train.patient_id[0]
    return ImageCase(ground.train, replace(ground.holdout, patient_id=patient), ground.third)


def stored_masks(ground: Ground) -> ImageCase:
    """Return two samples per mask: those of training masks equal, those of other masks two different images."""
    rows = [np.flatnonzero(part.slice_index == part.slice_index.min()) for part in (ground.train, ground.third)]
    stored, fresh = ground.train.select(rows[0]), ground.third.select(rows[1])
    patients = np.unique(fresh.patient_id)
    follower = dict(zip(patients, np.roll(patients, 1), strict=True))
    again = [np.flatnonzero(fresh.patient_id == follower[p])[0] for p in fresh.patient_id]
    parts = [stored, stored, fresh, replace(fresh, images=fresh.images[again])]
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name, value in vars(stored).items()
        if isinstance(value, np.ndarray)
    }
    return ImageCase(ground.train, ground.holdout, replace(stored, **arrays))


def _two_phases(ground: Ground) -> str:
    return "" if {"ED", "ES"} <= set(ground.train.phase) else "the data have no two phases"


FOUND_ANYHOW = (refuses("near_copies"), Sign("closer_to_train_pixels"))  # features do not look through a disguise
FOUND_BY_ALL = (
    *FOUND_ANYHOW,
    refuses("extraction_rate"),
    *(refuses(name) for name in MEMORY),
)
DISGUISES: tuple[tuple[str, str, Callable[[SliceSet], SliceSet], tuple[Sign, ...], tuple[str, ...]], ...] = (
    ("exact copies", "the training images as they are", lambda part: part, FOUND_BY_ALL, REAL_LOOKING),
    ("noisy copies", "training images with noise of .02", partial(noisy, deviation=0.02), FOUND_BY_ALL, ()),
    ("flipped copies", "training images mirrored left to right", flipped, FOUND_ANYHOW, ()),
    ("shifted copies", "training images moved by two pixels", partial(shifted, pixels=2), FOUND_ANYHOW, ()),
    (
        "copies of another gain",
        "training images at 80 % contrast, brighter",
        partial(scaled, gain=0.8, offset=0.06),
        FOUND_ANYHOW,
        (),
    ),
    ("blurred copies", "training images smoothed by .8 pixels", partial(blurred, sigma=0.8), FOUND_ANYHOW, ()),
)

PRIVACY_PLANTS = (
    *(
        Plant(name, planted, "privacy", must_fire, quiet, copies(disguise))
        for name, planted, disguise, must_fire, quiet in DISGUISES
    ),
    Plant(
        "1 % copies",
        "one synthetic image in a hundred is a training image",
        "privacy",
        (Sign("near_copies"), Sign("extraction_rate")),  # look closer: the interval of so few reaches below 1 %
        ("closer_to_train_pixels",),
        some_copies(0.01),
    ),
    Plant(
        "5 % copies",
        "one synthetic image in twenty is a training image",
        "privacy",
        (refuses("near_copies"), refuses("extraction_rate")),
        (),
        some_copies(0.05),
    ),
    Plant(
        "10 % copies",
        "one synthetic image in ten is a training image",
        "privacy",
        (refuses("near_copies"), refuses("extraction_rate")),
        (),
        some_copies(0.10),
    ),
    Plant(
        "another frame of training patients",
        "end-systolic frames of the patients whose end-diastole was trained on",
        "privacy",
        (refuses("closer_to_train_pixels"), Sign("gan_leaks_auc")),
        (),
        other_frame,
        needs=_two_phases,
    ),
    Plant(
        "stored images behind training masks",
        "two samples per mask that are one image for training masks, and different for others",
        "privacy",
        (refuses("clique_rate"), refuses("mask_memory")),
        (),
        stored_masks,
    ),
    Plant(
        "one patient on both sides",
        "a training patient among the held-out ones",
        "privacy",
        (Sign("check_sets", (REFUSED,)),),
        (),
        shared_patient,
    ),
)
