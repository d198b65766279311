from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from cmrsynth.metrics.recognition import fit_attribute, recall_by_patient


def patients_of(values: list[str], *, slices: int, shift: float, seed: int):
    """Features of patients who differ by value (along one axis) and among themselves (along the others)."""
    rng = np.random.default_rng(seed)
    features, labels, who = [], [], []
    for number, value in enumerate(values):
        centre = rng.normal(0, 1, 6)
        centre[0] = shift * sorted(set(values)).index(value)
        features.append(centre + rng.normal(0, 0.5, (slices, 6)))
        labels += [value] * slices
        who += [f"{seed}-{number}"] * slices
    return np.concatenate(features), np.array(labels), np.array(who)


def balanced(values, predicted, labels, who):
    return float(np.nanmean(np.nanmean(recall_by_patient(predicted, labels, who, values), 0)))


@pytest.mark.parametrize("values", [["a", "b"], ["a", "b", "c"]])
def test_what_differs_is_recognised_in_new_patients_and_what_does_not_is_not(values):
    for shift, expected in ((4.0, 1.0), (0.0, 1 / len(values))):
        fitted = fit_attribute(*patients_of(values * 8, slices=6, shift=shift, seed=0), 0)
        features, labels, who = patients_of(values * 30, slices=4, shift=shift, seed=1)
        found = balanced(values, fitted.predict(features), labels, who)
        assert found == pytest.approx(expected, abs=0.15 if shift == 0 else 0.03)


def test_balanced_accuracy_is_that_of_scikit_learn_where_all_patients_have_as_many_slices():
    rng = np.random.default_rng(0)
    labels, who = np.repeat(["a", "b", "b"], 10), np.repeat(["p", "q", "r"], 10)
    predicted = rng.choice(["a", "b"], 30)
    assert balanced(["a", "b"], predicted, labels, who) == pytest.approx(balanced_accuracy_score(labels, predicted))


def test_a_patient_with_many_slices_weighs_no_more_than_another():
    features, labels, who = patients_of(["a", "b"] * 6, slices=3, shift=2.0, seed=3)
    often = np.concatenate([np.arange(len(labels)), np.tile(np.flatnonzero(who == who[0]), 9)])
    plain = fit_attribute(features, labels, who, 0)
    repeated = fit_attribute(features[often], labels[often], who[often], 0)
    np.testing.assert_allclose(repeated.mean, plain.mean)
    np.testing.assert_allclose(repeated.scale, plain.scale)
    np.testing.assert_allclose(repeated.weights, plain.weights, atol=1e-3)


def test_the_order_of_rows_and_the_unit_of_a_feature_do_not_matter():
    features, labels, who = patients_of(["a", "b", "c"] * 5, slices=4, shift=2.0, seed=5)
    order = np.random.default_rng(0).permutation(len(labels))
    plain = fit_attribute(features, labels, who, 0).predict(features)
    np.testing.assert_array_equal(fit_attribute(features[order], labels[order], who[order], 0).predict(features), plain)
    scaled = fit_attribute(features * 1000, labels, who, 0).predict(features * 1000)
    assert (scaled == plain).mean() > 0.98


def test_faulty_input_is_refused():
    features, labels, who = patients_of(["a", "b"] * 3, slices=2, shift=1.0, seed=0)
    with pytest.raises(ValueError, match="one of each per slice"):
        fit_attribute(features, labels[1:], who, 0)
    with pytest.raises(ValueError, match="two values"):
        fit_attribute(features[labels == "a"], labels[labels == "a"], who[labels == "a"], 0)
    with pytest.raises(ValueError, match="finite"):
        fit_attribute(features * np.nan, labels, who, 0)
