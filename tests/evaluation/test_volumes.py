from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, NOT_COMPUTED
from cmrsynth.evaluation.resegmented import Resegmented, resegment
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.evaluation.stacks import extents, find_hearts, measure_hearts
from cmrsynth.evaluation.volumes import volume_figures
from cmrsynth.labels import LV, MYO, RV

SETTINGS = EvaluationSettings(resamples=60, floor_draws=2)
ALL = (LV, MYO, RV)
NAMES = [f"lv_{key}{end}" for key in ("edv", "esv", "ef", "mass") for end in ("_agreement", "")]


@pytest.fixture(scope="module")
def sets(stacked):
    return [stacked.stacked_set(name, 12, seed=seed) for seed, name in enumerate(("train", "holdout", "third"))]


@pytest.fixture(scope="module")
def judge(sets, stacked):
    def of(synthetic, labels=ALL):
        segmenter = stacked.ThresholdSegmenter()
        return {f.name: f for f in volume_figures(resegment(*sets[:2], synthetic, labels, segmenter, SETTINGS))}

    return of


def test_the_volume_of_a_stack_is_its_areas_times_the_distance_of_slices(sets, stacked):
    part = sets[2]
    hearts, refused = find_hearts(part, {})
    assert (len(hearts), refused) == (12, {})
    found = measure_hearts(hearts, part.masks, Resegmented(part, part.masks), ALL)
    own = (part.patient_id == hearts[0].patient_id) & (part.phase == "ED")
    edv = (part.masks[own] == LV).sum() * stacked.PIXEL**2 * stacked.SPACING / 1000
    assert found["edv"][0] == pytest.approx(edv)
    assert found["mass"][0] == pytest.approx(
        1.05 * (part.masks[own] == MYO).sum() * stacked.PIXEL**2 * stacked.SPACING / 1000
    )
    np.testing.assert_allclose(found["ef"], 100 * (1 - found["esv"] / found["edv"]))
    assert np.isnan(measure_hearts(hearts, part.masks, Resegmented(part, part.masks), (LV,))["mass"]).all()


def test_real_hearts_pass_and_rules_of_acdc_are_told(sets, judge):
    figures = judge(sets[2])
    assert list(figures) == NAMES
    assert {f.verdict for f in figures.values()} == {GOOD}
    assert "Only 12 patients" in figures["lv_ef"].reading
    table = figures["lv_ef"].details["pathology"]
    assert set(table) == {"normal", "dilated"}
    assert table["normal"]["ef_rule"] == {"expected": "above 50 %", "synthetic": 1.0, "holdout": 1.0, "train": 1.0}
    assert table["dilated"]["ef_rule"]["synthetic"] == 1.0
    assert table["normal"]["median_synthetic"] > 50 > table["dilated"]["median_synthetic"]


def test_images_whose_hearts_are_too_large_disagree_with_their_masks(sets, judge):
    third = sets[2]
    grown = np.where(third.masks == MYO, 0.9, third.images).astype(np.float32)  # the wall turned into blood
    figures = judge(replace(third, images=grown))
    assert figures["lv_edv_agreement"].verdict == DO_NOT_SHARE
    assert figures["lv_edv_agreement"].details["synthetic"]["bias"] > 10
    assert figures["lv_edv"].verdict != GOOD
    assert figures["lv_mass_agreement"].verdict == DO_NOT_SHARE


def test_a_generator_that_ignores_the_phase_has_no_ejection(sets, judge):
    third = sets[2]
    images = third.images.copy()
    images[third.phase == "ES"] = images[third.phase == "ED"]
    figures = judge(replace(third, images=images))
    assert figures["lv_ef_agreement"].verdict == DO_NOT_SHARE
    assert "percentage points" in figures["lv_ef_agreement"].reading
    assert figures["lv_edv_agreement"].verdict == GOOD


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda s: replace(s, slice_spacing=np.full(len(s), np.nan, np.float32)), "not known"),
        (lambda s: s.select(s.slice_index != 3), "missing"),
        (lambda s: s.select(s.slice_index < 2), "fewer than 3"),
        (lambda s: s.select(s.slice_index < 4), "base to apex"),
        (lambda s: s.select(s.phase == "ED"), "no slices at ES"),
        (lambda s: replace(s, frame=np.arange(len(s))), "several frames"),
        (lambda s: replace(s, masks=np.roll(s.masks, 20, 1)), "border"),
    ],
)
def test_an_ejection_fraction_of_unrelated_slices_is_never_given(sets, judge, spoil, why):
    figures = judge(spoil(sets[2]))
    assert list(figures) == ["lv_volumes"]
    assert figures["lv_volumes"].verdict == NOT_COMPUTED
    assert why in figures["lv_volumes"].reading
    assert "Single slices have no volume and no EF" in figures["lv_volumes"].reading


def test_a_known_patient_must_be_whole(sets):
    part = sets[2]
    middle = part.select((part.slice_index > 0) & (part.slice_index < 5))  # a basal to an apical slice
    assert len(find_hearts(middle, {})[0]) == 12
    assert find_hearts(middle, extents(part))[0] == []


def test_two_images_of_each_mask_are_two_hearts(sets):
    part = sets[2]
    twice = {
        f.name: np.repeat(getattr(part, f.name), 2, axis=0)
        for f in fields(part)
        if isinstance(getattr(part, f.name), np.ndarray)
    }
    hearts, _ = find_hearts(replace(part, **twice), extents(part))
    assert len(hearts) == 24
    assert set(hearts[0].ed) | set(hearts[1].ed) == set(range(12))
    assert not set(hearts[0].ed) & set(hearts[1].ed)


def test_masks_without_myocardium_have_no_mass(sets, judge):
    figures = judge(sets[2], labels=(LV,))
    assert figures["lv_mass"].verdict == figures["lv_mass_agreement"].verdict == NOT_COMPUTED
    assert figures["lv_ef"].value is not None
