from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cmrsynth.metrics.membership import (
    adjust_for_difficulty,
    aggregate_by_patient,
    auc,
    balanced_accuracy,
    blind_baseline,
    image_difficulty,
    tpr_at_fpr,
)


def test_auc_of_shifted_normals_is_phi_of_one_over_root_two():
    rng = np.random.default_rng(0)
    assert auc(rng.normal(1, 1, 20000), rng.normal(0, 1, 20000)) == pytest.approx(0.760, abs=0.006)


def test_auc_agrees_with_scikit_learn_ties_included():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(1)
    member, nonmember = rng.integers(0, 6, 80) + 1.0, rng.integers(0, 6, 50) * 1.0
    theirs = roc_auc_score(np.repeat([1, 0], [80, 50]), np.concatenate([member, nonmember]))
    assert auc(member, nonmember) == pytest.approx(theirs)


def test_auc_of_constant_scores_is_chance_and_negated_scores_mirror_it():
    rng = np.random.default_rng(2)
    assert auc(np.ones(5), np.ones(9)) == 0.5
    member, nonmember = rng.normal(1, 1, 40), rng.normal(size=30)
    assert auc(-member, -nonmember) == pytest.approx(1 - auc(member, nonmember))


def test_shuffled_labels_stay_within_three_standard_errors_of_chance():
    rng = np.random.default_rng(3)
    error = np.sqrt(201 / (12 * 100 * 100))
    found = np.array([auc(*np.split(rng.permutation(200), 2)) for _ in range(300)])
    assert found.std() == pytest.approx(error, rel=0.15)
    assert (np.abs(found - 0.5) < 3 * error).mean() > 0.985


def test_tpr_keeps_to_the_false_positive_rate():
    nonmember = np.arange(100.0)
    member = np.array([98.5] * 30 + [97.5] * 20 + [0.0] * 50)
    tpr, low, high = tpr_at_fpr(member, nonmember, 0.01)  # one accused: the threshold is 98, not below
    assert tpr == 0.30
    assert (low, high) == pytest.approx((0.2124, 0.3998), abs=1e-4)
    assert tpr_at_fpr(member, nonmember, 0.02)[0] == 0.50
    tied = np.array([0.0] * 95 + [5.0] * 5)
    assert tpr_at_fpr(np.full(10, 5.0), tied, 0.01)[0] == 0  # all five tied non-members would be accused


def test_a_rate_too_small_for_the_set_is_not_reported():
    assert np.isnan(tpr_at_fpr(np.ones(50), np.zeros(99), 0.01)).all()
    assert tpr_at_fpr(np.ones(50), np.zeros(100), 0.01)[0] == 1


def test_balanced_accuracy_known_values():
    assert balanced_accuracy(np.array([1.0, 1.0]), np.array([1.0])) == 0.5
    assert balanced_accuracy(np.array([0.0, 0.0]), np.array([1.0])) == 0.5  # never below a constant guess
    assert balanced_accuracy(np.array([2.0, 2.0, 0.0, 2.0]), np.array([1.0, 1.0])) == pytest.approx(7 / 8)


def test_patients_count_once_by_mean_or_max():
    scores, patient = np.array([1.0, 2.0, 9.0, -4.0]), np.array(["p2", "p1", "p2", "p1"])
    assert aggregate_by_patient(scores, patient)[1].tolist() == [-1.0, 5.0]
    names, highest = aggregate_by_patient(scores, patient, "max")
    assert names.tolist() == ["p1", "p2"]
    assert highest.tolist() == [2.0, 9.0]
    with pytest.raises(ValueError, match="median"):
        aggregate_by_patient(scores, patient, "median")


@pytest.mark.parametrize("figure", [auc, balanced_accuracy, lambda a, b: tpr_at_fpr(a, b, 0.1)])
def test_empty_and_undefined_scores_are_refused(figure):
    for member in (np.array([]), np.array([np.nan, 1.0])):
        with pytest.raises(ValueError, match="scores"):
            figure(member, np.arange(10.0))


def _cohort(patients, seed, blur, slices=4):
    rng = np.random.default_rng(seed)
    own = [gaussian_filter(rng.normal(size=(32, 32)), 4) * 4 for _ in range(patients)]  # what slices of one share
    return np.stack(
        [0.5 + gaussian_filter(base + 0.2 * rng.normal(size=(32, 32)), blur) for base in own for _ in range(slices)]
    )


def _blind_auc(train, holdout, slices=4):
    first, second = (np.arange(len(each)) // slices for each in (train, holdout))
    scores, labels = blind_baseline(train, holdout, first, 1000 + second, seed=0)
    assert labels.tolist() == [1] * len(train) + [0] * len(holdout)
    by_patient = [
        aggregate_by_patient(scores[labels == side], patient)[1] for side, patient in ((1, first), (0, second))
    ]
    return auc(*by_patient)


def test_a_blind_attack_on_one_population_is_at_chance():
    error = np.sqrt(81 / (12 * 40 * 40))
    assert abs(_blind_auc(_cohort(40, 0, 0.8), _cohort(40, 1, 0.8)) - 0.5) < 3 * error


def test_a_blind_attack_sees_another_scanner():
    assert _blind_auc(_cohort(40, 0, 0.8), _cohort(30, 1, 0.6)) > 0.95


def test_slices_of_one_patient_never_sit_on_both_sides_of_a_fold():
    train, holdout = _cohort(10, 0, 0.8, slices=12), _cohort(10, 1, 0.8, slices=12)
    assert _blind_auc(train, holdout, slices=12) < 0.85  # a split by slices recognises the patients: 1.0


def test_shared_and_too_few_patients_are_refused():
    images = _cohort(3, 0, 0.8)
    patients = np.repeat([0, 1, 2], 4)
    with pytest.raises(ValueError, match="share"):
        blind_baseline(images, images, patients, patients, seed=0)
    with pytest.raises(ValueError, match="fewer than two"):
        blind_baseline(images, images[:4], patients, np.full(4, 9), seed=0)


def test_difficulty_is_taken_out_and_membership_is_not():
    rng = np.random.default_rng(0)
    noise = np.concatenate([rng.uniform(0.02, 0.1, 60), rng.uniform(0.06, 0.2, 60)])  # non-members are noisier
    images = np.clip(0.5 + noise[:, None, None] * rng.normal(size=(120, 16, 16)), 0, 1)
    difficulty_of = image_difficulty(images)
    difficulty = -np.log(noise) + 0.05 * rng.normal(size=120)
    assert auc(difficulty[:60], difficulty[60:]) > 0.9  # a false alarm
    fair = adjust_for_difficulty(difficulty[:60], difficulty[60:], difficulty_of[:60], difficulty_of[60:])
    assert abs(auc(*fair) - 0.5) < 0.15
    leaking = difficulty + 0.3 * (np.arange(120) < 60)
    found = adjust_for_difficulty(leaking[:60], leaking[60:], difficulty_of[:60], difficulty_of[60:])
    assert auc(*found) > 0.95
