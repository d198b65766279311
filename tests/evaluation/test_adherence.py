from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmrsynth.evaluation.adherence import adherence_figures, mean_interval
from cmrsynth.evaluation.figure import DO_NOT_SHARE, GOOD, NOT_COMPUTED
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.labels import LV, MYO, RV

SETTINGS = EvaluationSettings(resamples=60, floor_draws=2)
ALL = (LV, MYO, RV)
ADHERENCE = ("adherence_dice", "adherence_hausdorff_95", "adherence_assd", "adherence_missed")


@pytest.fixture(scope="module")
def sets(stacked):
    return [stacked.stacked_set(name, 12, seed=seed) for seed, name in enumerate(("train", "holdout", "third"))]


@pytest.fixture(scope="module")
def judge(sets, stacked):
    train, holdout, _ = sets

    def of(synthetic):
        figures = adherence_figures(train, holdout, synthetic, ALL, stacked.ThresholdSegmenter(), SETTINGS)
        return {f.name: f for f in figures}

    return of


def exchanged(masks):
    return np.array([0, RV, MYO, LV], np.uint8)[masks]


def test_other_real_patients_pass_every_figure(sets, judge):
    figures = judge(sets[2])
    assert {f.verdict for f in figures.values()} == {GOOD}, {n: f.verdict for n, f in figures.items()}
    for figure in figures.values():
        assert figure.interval is not None, figure.name
        assert figure.floor_interval is not None, figure.name
    assert figures["adherence_dice"].planted < 0.75 < figures["adherence_dice"].floor
    assert figures["anatomy_impossible_masks"].planted > 0.9


def test_ignored_masks_are_caught(sets, judge):
    third = sets[2]
    shuffled = replace(third, masks=third.masks[np.random.default_rng(0).permutation(len(third))])
    figures = judge(shuffled)
    assert figures["adherence_dice"].verdict == DO_NOT_SHARE
    assert figures["adherence_assd"].verdict != GOOD
    assert figures["anatomy_impossible_masks"].verdict == GOOD  # the masks as such are hearts
    assert figures["adherence_dice"].details["minus_ceiling_interval"][1] < -0.05


def test_images_that_show_nothing_are_counted(sets, judge):
    third = sets[2]
    images = third.images.copy()
    images[::2] = 0.4
    figures = judge(replace(third, images=images))
    assert figures["adherence_missed"].value == pytest.approx(0.5, abs=0.02)
    assert figures["adherence_missed"].verdict == DO_NOT_SHARE
    assert figures["adherence_assd"].verdict == GOOD  # where there is something to compare
    details = figures["adherence_assd"].details
    assert details["missed_as_image_diagonal"] > details["floor_missed_as_image_diagonal"] + 40
    assert details["missed_slices"] == 3 * len(third) / 2


def test_exchanged_labels_in_the_masks_alone_are_named(sets, judge):
    figures = judge(replace(sets[2], masks=exchanged(sets[2].masks)))
    assert figures["adherence_dice"].verdict == DO_NOT_SHARE
    assert "exchanged" in figures["adherence_dice"].reading
    assert figures["adherence_dice"].details["with_ventricles_exchanged"]["exchanged"] > 0.9
    assert figures["anatomy_impossible_masks"].verdict == DO_NOT_SHARE
    assert "look exchanged" in figures["anatomy_impossible_masks"].reading


def test_distances_are_in_mm(sets, judge, stacked):
    third = sets[2]
    shifted = judge(replace(third, images=np.roll(third.images, 2, 1)))
    assert 2 < shifted["adherence_assd"].value < 4 < shifted["adherence_hausdorff_95"].value + 1
    coarse = [replace(part, pixel_spacing=2 * part.pixel_spacing) for part in sets]
    again = adherence_figures(
        coarse[0],
        coarse[1],
        replace(coarse[2], images=np.roll(third.images, 2, 1)),
        ALL,
        stacked.ThresholdSegmenter(),
        SETTINGS,
    )
    named = {f.name: f for f in again}
    for key in ("adherence_assd", "adherence_hausdorff_95"):
        assert named[key].value == pytest.approx(2 * shifted[key].value)
    assert named["adherence_dice"].value == pytest.approx(shifted["adherence_dice"].value)


def test_sets_without_any_structure_say_so(sets, judge):
    figures = judge(replace(sets[2], images=np.full_like(sets[2].images, 0.4), masks=np.zeros_like(sets[2].masks)))
    for name in ADHERENCE:
        assert figures[name].verdict == NOT_COMPUTED
        assert figures[name].value is None


def test_the_mean_over_patients_leaves_out_what_is_not_defined():
    value, interval = mean_interval(np.array([[0.8, np.nan], [0.6, 0.4], [np.nan, np.nan]]), SETTINGS)
    assert value == pytest.approx(0.65)
    assert interval[0] < 0.65 < interval[1]
