"""The floor: halves that share no patient, equal sizes, and intervals that are those of the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.metrics.frechet import frechet_distance
from cmrsynth.metrics.intervals import bootstrap_patients
from cmrsynth.metrics.real_floor import compare_sets, data_hash, describe_sets, halve, over, subset, warn_of_bias


def test_halves_share_no_patient_and_are_nearly_equal():
    rng = np.random.default_rng(0)
    patient_id = np.repeat(np.arange(21), rng.integers(1, 9, 21))
    rows = np.flatnonzero(patient_id > 2)
    seen = set()
    for draw in range(6):
        first, second = halve(patient_id, rows, draw, 0)
        assert not set(patient_id[first]) & set(patient_id[second])
        assert sorted([*first, *second]) == rows.tolist()
        assert abs(len(first) - len(second)) <= 8
        seen.add(tuple(first))
    assert len(seen) == 6


def test_a_subset_holds_whole_patients_but_one():
    patient_id = np.repeat(np.arange(10), 5)
    found = subset(patient_id, np.arange(50), 12, [0])
    _, counts = np.unique(patient_id[found], return_counts=True)
    assert sorted(counts) == [2, 5, 5]
    assert len(subset(patient_id, np.arange(50), 99, [0])) == 50


def _stream(shift, n=120, d=6, per_patient=4, seed=0):
    rng = np.random.default_rng(seed)
    is_real, patient_id = np.arange(2 * n) < n, np.arange(2 * n) // per_patient
    return rng.normal(size=(2 * n, d)) + np.where(is_real, 0, shift)[:, None], is_real, patient_id


def _frechet(x, y):
    return {"fid": frechet_distance(x, y)}


def test_value_and_interval_are_those_of_the_plain_functions():
    rows, is_real, patient_id = _stream(0.5)
    found = compare_sets(over(rows, _frechet), is_real, patient_id, resamples=30, seed=3)
    x, y = rows[~is_real], rows[is_real]
    assert found["fid"] == frechet_distance(x, y)
    plain = bootstrap_patients(
        lambda i, j: frechet_distance(x[i], y[j]), [patient_id[~is_real], patient_id[is_real]], resamples=30, seed=3
    )
    assert (found["fid_low"], found["fid_high"]) == plain
    assert (found["n_synthetic"], found["n_real"], found["n_patients"]) == (120, 120, 30)


def test_without_a_difference_the_value_at_floor_size_is_the_floor():
    ratios = []
    for seed in range(6):
        rows, is_real, patient_id = _stream(0, seed=seed)
        found = compare_sets(over(rows, _frechet), is_real, patient_id, resamples=0, seed=0)
        ratios.append(found["fid_at_floor_size"] / found["fid_floor"])
        assert found["fid"] < found["fid_floor"]  # twice as many rows: what must not be compared
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)


def test_one_set_is_described_beside_as_many_real_rows():
    is_real, patient_id = np.arange(90) < 60, np.arange(90) // 3
    found = describe_sets(lambda own: lambda i: {"n": len(i)}, is_real, patient_id, resamples=20, seed=0)
    assert (found["n"], found["n_floor"], found["n_at_floor_size"]) == (30, 30, 30)


def test_few_patients_are_warned_of_and_give_no_floor_interval():
    rows, is_real, patient_id = _stream(0.5, n=12)
    with pytest.warns(UserWarning, match="3 real patients"):
        found = compare_sets(over(rows, _frechet), is_real, patient_id, resamples=20, seed=0)
    assert np.isnan(found["fid_floor_low"])
    with pytest.warns(UserWarning, match="1 real patients"):
        one = compare_sets(over(rows, _frechet), is_real, np.where(is_real, 0, patient_id), resamples=20, seed=0)
    assert np.isnan(one["fid_floor"])
    assert np.isfinite(one["fid"])


def test_a_stream_without_both_sets_is_refused():
    rows, is_real, patient_id = _stream(0)
    with pytest.raises(ValueError, match="0 synthetic and 240 real"):
        compare_sets(over(rows, _frechet), np.ones_like(is_real), patient_id, resamples=0, seed=0)


def test_bias_is_warned_of_only_where_rows_are_fewer_than_dimensions(recwarn):
    warn_of_bias("fid", 120, _stream(0)[1])
    assert not recwarn.list
    with pytest.warns(UserWarning, match="most of the value is bias"):
        warn_of_bias("fid", 121, _stream(0)[1])


def test_the_hash_changes_with_any_value():
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    assert data_hash(rows) == data_hash(rows.astype(np.float64))
    assert data_hash(rows) != data_hash(rows[::-1])
