from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmrsynth.evaluation.anatomy import ANATOMY, anatomy_figures, measures
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, LOOK, NOT_COMPUTED
from cmrsynth.evaluation.resegmented import resegment
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.labels import LV, MYO, RV

SETTINGS = EvaluationSettings(resamples=60, floor_draws=2)
ALL = (LV, MYO, RV)


@pytest.fixture(scope="module")
def sets(stacked):
    return [stacked.stacked_set(name, 16, seed=seed) for seed, name in enumerate(("train", "holdout", "third"))]


@pytest.fixture(scope="module")
def judge(sets, stacked):
    def of(synthetic, labels=ALL):
        segmenter = stacked.ThresholdSegmenter()
        return {f.name: f for f in anatomy_figures(resegment(*sets[:2], synthetic, labels, segmenter, SETTINGS))}

    return of


def painted(part, masks, stacked):
    """The set with masks and the images that show them."""
    images = np.choose(masks, [0.4, *(stacked.GREY[label] for label in ALL)]).astype(np.float32)
    return replace(part, masks=masks, images=images)


def test_real_hearts_are_possible_and_alike(sets, judge):
    figures = judge(sets[2])
    assert {f.verdict for f in figures.values()} == {GOOD}
    assert figures["anatomy_impossible_masks"].value == figures["anatomy_impossible_masks"].floor == 0
    groups = figures["anatomy_lv_area_mm2"].details["groups"]
    assert set(groups) == {
        *("vendor A", "vendor B", "phase ED", "phase ES"),
        *("slice_level basal", "slice_level mid", "slice_level apical"),
    }
    assert all({"value", "interval", "floor", "n", "patients"} <= set(row) for row in groups.values())


def test_impossible_masks_fire_even_if_the_images_follow_them(sets, judge, stacked):
    third = sets[2]
    masks = third.masks.copy()
    masks[::3] = np.where(third.masks[::3] == MYO, 0, third.masks[::3])
    figures = judge(painted(third, masks, stacked))
    assert figures["anatomy_impossible_masks"].value == pytest.approx(1 / 3, abs=0.02)
    assert figures["anatomy_impossible_masks"].verdict == DO_NOT_SHARE
    assert figures["anatomy_impossible_masks"].headline
    assert figures["anatomy_impossible_images"].verdict != GOOD
    assert "no myocardium" in figures["anatomy_impossible_masks"].reading


def test_one_impossible_mask_in_a_hundred_is_no_alarm_and_one_in_twenty_is(sets, judge):
    third = sets[2]
    for every, verdicts in ((100, {GOOD}), (20, {LOOK, DO_NOT_SHARE})):
        masks = third.masks.copy()
        masks[::every] = np.where(masks[::every] == MYO, 0, masks[::every])
        assert judge(replace(third, masks=masks))["anatomy_impossible_masks"].verdict in verdicts


def test_thick_walls_are_seen(sets, judge, stacked):
    from scipy.ndimage import binary_dilation

    third = sets[2]
    thick = np.stack([binary_dilation(mask == MYO, iterations=2) for mask in third.masks])
    figures = judge(painted(third, np.where(thick & (third.masks != LV), MYO, third.masks), stacked))
    assert figures["anatomy_wall_thickness_mm"].verdict == DO_NOT_SHARE
    assert figures["anatomy_wall_thickness_mm"].value == pytest.approx(4, abs=1)  # two pixels of 2 mm
    assert figures["anatomy_lv_area_mm2"].verdict == GOOD


def test_a_fault_of_one_slice_level_is_named(sets, judge, stacked):
    from scipy.ndimage import binary_dilation

    third = sets[2]
    masks = third.masks.copy()
    apical = third.slice_level == "apical"
    for i in np.flatnonzero(apical):
        grown = binary_dilation(masks[i] == MYO, iterations=2) & (masks[i] != LV)
        masks[i] = np.where(grown, MYO, masks[i])
    figure = judge(painted(third, masks, stacked))["anatomy_wall_thickness_mm"]
    groups = figure.details["groups"]
    assert groups["slice_level apical"]["verdict"] == DO_NOT_SHARE
    assert groups["slice_level basal"]["verdict"] == GOOD
    assert figure.verdict != GOOD
    assert "slice_level apical" in figure.reading
    assert "slice_level basal" not in figure.reading


def test_groups_of_too_few_patients_say_so(sets, judge):
    third = sets[2].select(np.flatnonzero(np.isin(sets[2].patient_id, sets[2].patients[:5])))
    groups = judge(third)["anatomy_lv_area_mm2"].details["groups"]
    assert "fewer than 3 patients" in groups["vendor B"]["why_not"]
    assert "value" not in groups["vendor B"]


def test_leaks_and_pieces_are_measured(sets, stacked):
    part = sets[2]
    masks = part.masks.copy()
    masks[0][:2, :2] = LV
    rows = np.arange(masks.shape[1])[:, None]
    centre = np.argwhere(masks[1] == LV).mean(0)[0]
    masks[1] = np.where((masks[1] == MYO) & (rows < centre), 0, masks[1])
    found = measures(masks, resegment(part, part, part, ALL, stacked.ThresholdSegmenter(), SETTINGS).train, ALL)
    assert set(found) == {key for key, *_ in ANATOMY}
    assert found["components"][:3].tolist() == [1, 0, 0]
    assert 0.3 < found["lv_leak"][1] < 0.7
    assert found["lv_leak"][2] == 0


def test_labels_that_are_not_annotated_have_no_figures(judge, sets):
    figures = judge(sets[2], labels=(LV,))
    assert figures["anatomy_wall_thickness_mm"].verdict == NOT_COMPUTED
    assert "lv_myocardium" in figures["anatomy_wall_thickness_mm"].reading
    assert figures["anatomy_lv_area_mm2"].value is not None
    assert figures["anatomy_impossible_masks"].value == 0
