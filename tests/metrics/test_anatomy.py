from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.labels import LV, MYO, RV
from cmrsynth.metrics.anatomy import measure, measure_all, simpson_volume, wasserstein_1


def _ring(endo=20, epi=28, side=128):
    rows, columns = np.mgrid[:side, :side]
    radius = np.hypot(rows - side // 2, columns - side // 2)
    mask = np.zeros((side, side), np.uint8)
    mask[radius <= epi] = MYO
    mask[radius <= endo] = LV
    return mask


def test_a_ring_has_its_analytic_measures():
    found = measure(_ring(), (1.25, 1.25))
    assert found["wall_thickness_mm"] == pytest.approx(10, abs=0.1)
    assert found["wall_thickness_mm"] == pytest.approx(9.93, abs=5e-3)  # digitised
    assert found["lv_area_mm2"] == pytest.approx(np.pi * 25**2, rel=5e-3)
    assert found["lv_myo_ratio"] == pytest.approx(1.0417, rel=0.012)
    assert found["lv_components"] == found["myo_components"] == found["lv_enclosed"] == 1
    assert found["rv_area_mm2"] == found["rv_components"] == 0
    assert np.isnan(found["rv_lv_ratio"])


def test_areas_follow_the_spacing_and_ratios_do_not():
    mask = _ring()
    mask[:30, :20] = RV
    small, large = measure(mask, (1.0, 1.0)), measure(mask, (2.0, 1.5))
    assert small["rv_area_mm2"] == 600
    for name in ("lv_area_mm2", "myo_area_mm2", "rv_area_mm2"):
        assert large[name] == pytest.approx(3 * small[name])
    for name in ("lv_myo_ratio", "rv_lv_ratio", "lv_enclosed", "lv_components"):
        assert large[name] == pytest.approx(small[name])


def test_torn_anatomy_is_seen():
    mask = _ring()
    mask[60:68, 84:] = 0  # a gap in the wall does not open the cavity's border (the cavity ends at column 84)
    assert measure(mask, (1, 1))["lv_enclosed"] < 1
    mask[5:8, 5:8] = LV
    assert measure(mask, (1, 1))["lv_components"] == 2
    halves = _ring()
    halves[:, :64] = 0
    assert measure(halves, (1, 1))["lv_enclosed"] < 0.7


def test_a_cavity_at_the_image_border_is_not_enclosed_there():
    mask = np.zeros((6, 6), int)
    mask[:4, :4] = MYO
    mask[0, 1] = LV
    assert measure(mask, (1, 1))["lv_enclosed"] == pytest.approx(3 / 4)


def test_diagonal_neighbours_are_one_component():
    assert measure(np.eye(4, dtype=int) * MYO, (1, 1))["myo_components"] == 1


def test_measures_of_labels_that_are_not_annotated_are_undefined():
    masks = np.stack([_ring(), np.zeros((128, 128), np.uint8)])
    spacing = np.ones((2, 2))
    found = measure_all(masks, spacing, (LV, MYO, RV))
    assert set(found) == set(measure(masks[0], (1, 1)))
    assert found["lv_area_mm2"][1] == 0
    assert np.isnan(found["wall_thickness_mm"]).tolist() == [False, True]
    only_lv = measure_all(masks, spacing, (LV,))
    assert {name for name, values in only_lv.items() if not np.isnan(values).all()} == {
        "lv_area_mm2",
        "lv_components",
    }


def test_sum_of_discs_of_a_sphere():
    heights = np.arange(-26.0, 30, 8)
    volume = simpson_volume(np.pi * np.clip(30**2 - heights**2, 0, None), 8)
    assert volume == pytest.approx(112.59, abs=0.6)
    assert volume == pytest.approx(4 / 3 * np.pi * 27, rel=0.01)


def test_wasserstein_of_a_shift_is_the_shift_and_it_follows_the_unit():
    values = np.random.default_rng(0).normal(size=50)
    assert wasserstein_1(values + 2, values) == pytest.approx(2)
    assert wasserstein_1(30 * values, 10 * values) == pytest.approx(10 * wasserstein_1(3 * values, values))
    assert np.isnan(wasserstein_1(np.array([np.nan]), values))
