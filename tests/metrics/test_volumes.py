from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.metrics.volumes import agreement, ejection_fraction, myocardial_mass, stack_fault, stack_volume


def sphere(radius: float, pixel: float, spacing: float) -> np.ndarray:
    """(Z, H, W) slices through a sphere, their centres half a spacing inside its lower pole."""
    heights = np.arange(-radius + spacing / 2, radius, spacing)
    axis = (np.arange(int(2 * radius / pixel) + 4) + 0.5) * pixel
    centre = axis.mean()
    flat = (axis[:, None] - centre) ** 2 + (axis - centre) ** 2
    return np.stack([(flat <= radius**2 - z**2).astype(np.uint8) for z in heights])


def test_a_sphere_of_30_mm_in_slices_8_mm_apart():
    masks = sphere(30, 0.5, 8)
    volume = stack_volume(masks, 1, np.full((len(masks), 2), 0.5), 8.0)
    assert volume == pytest.approx(112.59, abs=0.15)  # the sum of exact discs
    assert volume == pytest.approx(4 / 3 * np.pi * 27, rel=0.01)


def test_a_volume_follows_the_spacing_and_not_the_order_of_slices():
    masks = sphere(20, 2.0, 10)
    spacing = np.full((len(masks), 2), 2.0)
    volume = stack_volume(masks, 1, spacing, 10.0)
    assert stack_volume(masks[::-1], 1, spacing, 10.0) == volume
    assert stack_volume(masks, 1, 2 * spacing, 10.0) == pytest.approx(4 * volume)
    assert stack_volume(masks, 1, spacing, 5.0) == pytest.approx(volume / 2)
    assert stack_volume(masks, 3, spacing, 10.0) == 0


def test_what_has_no_volume_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        stack_volume(np.ones((3, 4, 4), int), 1, np.ones((2, 2)), 8.0)
    for spacing in (float("nan"), 0.0):
        with pytest.raises(ValueError, match="positive"):
            stack_volume(np.ones((3, 4, 4), int), 1, np.ones((3, 2)), spacing)


@pytest.mark.parametrize(
    ("indices", "spacing", "fault"),
    [
        ([0, 1], [8, 8], "fewer than 3"),
        ([0, 1, 2], [8, np.nan, 8], "not known"),
        ([0, 1, 2], [8, 8, 10], "not the same"),
        ([0, 1, 1], [8, 8, 8], "twice"),
        ([0, 2, 3], [8, 8, 8], "missing"),
        ([4, 3, 5], [8, 8, 8], ""),
    ],
)
def test_stacks_that_cannot_be_summed_say_why(indices, spacing, fault):
    found = stack_fault(np.array(indices), np.array(spacing, float))
    assert (fault in found) if fault else found == ""


def test_ejection_fraction_and_mass():
    assert ejection_fraction(150, 60) == pytest.approx(60)
    assert ejection_fraction(100, 120) == pytest.approx(-20)
    assert np.isnan(ejection_fraction(0, 0))
    assert myocardial_mass(100) == pytest.approx(105)


def test_limits_of_agreement_hold_19_of_20_differences():
    rng = np.random.default_rng(0)
    truth = rng.normal(120, 30, 4000)
    found = agreement(truth + rng.normal(3, 5, 4000), truth)
    assert found["bias"] == pytest.approx(3, abs=0.3)
    assert (found["lower"], found["upper"]) == pytest.approx((3 - 9.8, 3 + 9.8), abs=0.4)
    assert found["mean_absolute"] >= abs(found["bias"])
    same = agreement(truth, truth)
    assert set(same.values()) == {0.0}
    mirrored = agreement(truth, truth + 2)
    assert mirrored["bias"] == pytest.approx(-2)


def test_agreement_needs_pairs_of_numbers():
    with pytest.raises(ValueError, match="one value per heart"):
        agreement(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="finite"):
        agreement(np.array([1.0, np.nan]), np.ones(2))
    assert np.isnan(agreement(np.ones(1), np.ones(1))["upper"])
