from __future__ import annotations

import numpy as np

from cmrsynth.certification.hearts import PATHOLOGIES, PHASES, VENDORS, hearts
from cmrsynth.evaluation.inputs import check_sets
from cmrsynth.labels import LV, MYO, RV
from cmrsynth.metrics.plausibility import impossible_all


def test_every_vendor_meets_every_pathology() -> None:
    part = hearts("a", 8, seed=0)
    pairs = set(zip(part.vendor.tolist(), part.pathology.tolist(), strict=True))
    assert pairs == {(v, p) for v in VENDORS for p in PATHOLOGIES}
    assert set(part.phase) == set(PHASES)
    assert len(part) == 8 * 6


def test_patients_do_not_depend_on_what_else_is_asked_for() -> None:
    both, one = hearts("a", 3, seed=0), hearts("a", 2, seed=0, phases=("ES",))
    np.testing.assert_array_equal(both.images[both.phase == "ES"][:6], one.images)
    assert not np.array_equal(both.images[:6], hearts("a", 1, seed=1).images)


def test_masks_are_possible_and_hold_all_labels() -> None:
    part = hearts("a", 8, seed=0)
    assert all({LV, MYO, RV} <= set(np.unique(mask)) for mask in part.masks)
    assert not np.any(list(impossible_all(part.masks, (LV, MYO, RV)).values()))


def test_the_cavity_shrinks_and_the_wall_thickens_in_systole() -> None:
    part = hearts("a", 4, seed=0)
    area = (part.masks == LV).sum((1, 2))
    assert (area[part.phase == "ES"] < 0.7 * area[part.phase == "ED"]).all()


def test_sets_can_be_compared() -> None:
    sets = [hearts(name, 4, seed=0) for name in ("train", "holdout", "third")]
    assert check_sets(*sets) == (LV, MYO, RV)
