from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from cmrsynth.errors import InputError
from cmrsynth.evaluation.floors import Sample, draw_rows, measure
from cmrsynth.evaluation.inputs import check_sets, mask_origin, training_part
from cmrsynth.evaluation.settings import EvaluationSettings
from cmrsynth.labels import LV, MYO, RV


@pytest.fixture
def three(toy_set):
    return toy_set("train", 4, seed=0), toy_set("holdout", 3, seed=1), toy_set("holdout", 3, seed=2)


def test_good_sets_pass_with_the_labels_they_share(three):
    train, holdout, synthetic = three
    assert check_sets(train, replace(holdout, annotated_labels=(LV,)), synthetic) == (LV,)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            lambda t, h, s: (
                t,
                replace(h, patient_id=np.where(h.patient_id == h.patients[0], t.patients[0], h.patient_id)),
                s,
            ),
            "shares 1 patients",
        ),
        (
            lambda t, h, s: (t, h, replace(s, images=s.images[:, :16, :16], masks=s.masks[:, :16, :16])),
            r"\(16, 16\) pixels",
        ),
        (lambda t, h, s: (t, h, replace(s, annotated_labels=(LV,))), "annotates labels"),
        (lambda t, h, s: (t, h, replace(s, annotated_labels=())), "has no masks, as is right"),
        (lambda t, h, s: (replace(t, annotated_labels=(RV,)), h, s), "annotates labels"),
        (lambda t, h, s: (t, h.select([0, 1]), s), "only 2 slices"),
        (lambda t, h, s: (t, h, replace(s, images=s.images * 2 - 1)), r"outside \[0, 1\]"),
        (lambda t, h, s: (t, h, replace(s, images=np.full_like(s.images, np.nan))), "NaN"),
        (lambda t, h, s: (t, h, replace(s, masks=s.masks[:, :16])), "but masks"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(three, fault, message):
    with pytest.raises(InputError, match=message):
        check_sets(*fault(*three))


def test_whose_masks_were_used(toy_set):
    train, holdout, other = toy_set("train", 4, seed=0), toy_set("holdout", 3, seed=1), toy_set("other", 3, seed=2)
    assert mask_origin(train, holdout, train) == "train"
    assert mask_origin(train, holdout, holdout) == "holdout"
    assert mask_origin(train, holdout, other) == "other"


def test_images_made_from_test_masks_do_not_train_the_network_that_is_tested_on_them(toy_set):
    holdout, other = toy_set("holdout", 4, seed=1), toy_set("train", 4, seed=0)
    both = concatenated(other, holdout)
    teaching, optimistic = training_part(holdout, both)
    assert not optimistic
    assert set(teaching.patients) == set(other.patients)
    np.testing.assert_array_equal(teaching.images, other.images)
    assert training_part(holdout, other) == (other, False)
    only_test, optimistic = training_part(holdout, holdout)
    assert optimistic
    assert only_test is holdout


def concatenated(first, second):
    arrays = {
        f.name: np.concatenate([getattr(first, f.name), getattr(second, f.name)])
        for f in fields(first)
        if isinstance(getattr(first, f.name), np.ndarray)
    }
    return replace(first, **arrays)


def test_real_draws_keep_patients_together_and_reach_the_size():
    patients = np.repeat([f"p{i}" for i in range(10)], 6)
    for rows in draw_rows(patients, 15, 4, seed=0):
        assert len(rows) == 15
        assert len(set(rows)) == 15
        assert len(set(patients[rows])) == 3
    assert len(draw_rows(patients, 500, 1, seed=0)[0]) == 60


def test_a_shift_stands_out_from_its_floor_and_no_shift_does_not():
    rng = np.random.default_rng(0)
    patients = np.repeat([f"p{i}" for i in range(20)], 5)
    samples = [Sample(rng.normal(size=100) + shift, patients) for shift in (0.0, 0.0, 0.0, 1.0)]
    settings = EvaluationSettings(resamples=200)

    def distance(x, y):
        return abs(x.mean() - y.mean())

    same = measure(distance, samples[0], samples[1], samples[2], settings)
    far = measure(distance, samples[3], samples[1], samples[2], settings, bounds=(0, np.inf))
    assert same.interval[0] < same.floor_interval[1]
    assert far.interval[0] > far.floor_interval[1]
    assert far.value == pytest.approx(1.0, abs=0.3)
    assert far.floor_interval[0] >= 0


def test_the_labels_of_a_toy_set_are_what_the_other_tests_assume(toy_set):
    assert toy_set("train", 2, seed=0).annotated_labels == (LV, MYO)


@pytest.mark.parametrize("wrong", [{"segmenter_updates": 0}, {"resamples": 5}, {"segmenter_seeds": 0}])
def test_settings_that_measure_nothing_are_refused(wrong):
    with pytest.raises(InputError):
        EvaluationSettings(**wrong)
