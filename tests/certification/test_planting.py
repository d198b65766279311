from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from cmrsynth.certification import planting
from cmrsynth.certification.hearts import hearts
from cmrsynth.labels import LV, MYO, RV


@pytest.fixture(scope="module")
def part():
    return hearts("third", 4, seed=0)


@pytest.mark.parametrize(
    "plant",
    [
        partial(planting.noisy, deviation=0.1),
        planting.flipped,
        planting.turned,
        partial(planting.shifted, pixels=2),
        partial(planting.shifted, pixels=0.1),
        partial(planting.scaled, gain=0.5, offset=0.1),
        partial(planting.blurred, sigma=1),
        partial(planting.chequered, amplitude=0.05),
        planting.torn,
        partial(planting.half_denoised, noise=0.3),
        planting.repeated,
        planting.collapsed,
    ],
)
def test_images_stay_images_and_the_original_is_not_touched(part, plant) -> None:
    before = part.images.copy()
    changed = plant(part)
    assert changed.images.dtype == np.float32
    assert changed.images.shape == part.images.shape
    assert 0 <= changed.images.min() <= changed.images.max() <= 1
    assert not np.array_equal(changed.images, before)
    np.testing.assert_array_equal(part.images, before)
    np.testing.assert_array_equal(plant(part).images, changed.images)  # seeded


def test_the_checkerboard_has_the_asked_strength(part) -> None:
    grey = planting.with_images(part, np.full(part.images.shape, 0.5))
    difference = planting.chequered(grey, 0.04).images - 0.5
    assert difference.std() == pytest.approx(0.04, rel=1e-3)
    assert difference.mean() == pytest.approx(0, abs=1e-6)


def test_a_torn_background_leaves_the_heart_alone(part) -> None:
    changed = planting.torn(part)
    heart = part.masks > 0
    np.testing.assert_array_equal(changed.images[heart], part.images[heart])
    assert (changed.images != part.images).mean() > 0.3


def test_swapped_ventricles_swap_back(part) -> None:
    swapped = planting.swapped_ventricles(part)
    assert ((swapped.masks == LV) == (part.masks == RV)).all()
    assert ((swapped.masks == MYO) == (part.masks == MYO)).all()
    np.testing.assert_array_equal(planting.swapped_ventricles(swapped).masks, part.masks)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_the_asked_share_is_copied(part, share) -> None:
    train = hearts("train", 4, seed=1)
    mixed = planting.with_copies(part, train, share)
    copied = [any(np.array_equal(image, other) for other in train.images) for image in mixed.images]
    assert sum(copied) == max(1, round(share * len(part)))


def test_conditions_move_between_patients_and_stay_together(part) -> None:
    changed = planting.shuffled_conditions(part, "vendor")
    assert sorted(changed.vendor) == sorted(part.vendor)
    assert all(len(set(changed.vendor[part.patient_id == p])) == 1 for p in part.patients)
    np.testing.assert_array_equal(changed.images, part.images)


def test_a_collapsed_set_shows_one_patient(part) -> None:
    changed = planting.collapsed(part, jitter=0.0)
    assert len(np.unique(changed.images.reshape(len(part), -1), axis=0)) == 6
