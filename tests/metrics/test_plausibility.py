from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.metrics.anatomy import LV, MYO, RV
from cmrsynth.metrics.plausibility import RULES, impossible, impossible_all

ALL = (LV, MYO, RV)
ROWS, COLUMNS = np.mgrid[:64, :64]


def heart() -> np.ndarray:
    """A cavity in a ring, and a crescent of RV on its left."""
    radius = np.hypot(ROWS - 32, COLUMNS - 36)
    mask = np.zeros((64, 64), np.uint8)
    mask[np.hypot(ROWS - 32, COLUMNS - 22) < 13] = RV
    mask[radius < 15] = MYO
    mask[radius < 10] = LV
    return mask


def exchanged(mask: np.ndarray) -> np.ndarray:
    return np.array([0, RV, MYO, LV], np.uint8)[mask]


def broken(mask: np.ndarray, labels=ALL) -> set[str]:
    return {rule for rule, is_broken in impossible(mask, labels).items() if is_broken}


def test_a_heart_and_an_empty_slice_are_possible():
    assert broken(heart()) == set()
    assert broken(np.zeros((8, 8), int)) == set()


def test_exchanged_ventricles_are_named():
    assert broken(exchanged(heart())) == {"lv_open", "rv_inside", "exchanged"}


def test_every_rule_can_be_broken():
    pieces = {
        f"{name}_in_pieces": np.where((heart() == 0) & (ROWS < 5) & (COLUMNS < 6), label, heart())
        for name, label in (("lv", LV), ("myo", MYO), ("rv", RV))
    }
    ring = np.where(heart() == RV, 0, heart())
    planted = {
        **pieces,
        "lv_without_wall": np.where(heart() == MYO, 0, heart()),
        "lv_open": np.where((heart() == MYO) & (ROWS < 36), 0, heart()),
        "no_septum": np.where((heart() == MYO) & (COLUMNS < 36), RV, heart()),
        "rv_inside": np.where(np.hypot(ROWS - 32, COLUMNS - 36) < 4, RV, ring),
        "exchanged": exchanged(heart()),
    }
    assert set(planted) == set(RULES)
    for rule, mask in planted.items():
        assert rule in broken(mask), rule


def test_a_speck_is_no_second_piece_and_a_missing_wall_of_a_few_pixels_is_no_open_ventricle():
    mask = heart()
    mask[2, 2] = LV
    mask[(mask == MYO) & (ROWS < 20)] = 0
    assert broken(mask) == set()


def test_turning_and_mirroring_change_nothing():
    for mask in (heart(), exchanged(heart()), np.where(heart() == MYO, 0, heart())):
        for turned in (np.rot90(mask), mask[::-1], mask.T):
            assert broken(turned) == broken(mask)


def test_rules_about_labels_that_are_not_annotated_are_never_broken():
    assert broken(np.where(heart() == MYO, 0, heart()), (LV,)) == set()
    assert broken(exchanged(heart()), (LV, MYO)) == {"lv_open"}


def test_many_masks_in_one_call():
    found = impossible_all(np.stack([heart(), exchanged(heart())]), ALL)
    assert found["any"].tolist() == [False, True]
    assert found["exchanged"].tolist() == [False, True]
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        impossible(np.zeros((2, 4, 4), int), ALL)
