from __future__ import annotations

import numpy as np
import pytest

from cmrsynth.metrics import nearest_search, neighbours
from cmrsynth.metrics.membership import auc
from cmrsynth.metrics.neighbours import (
    authenticity,
    carlini_ratio,
    closer_to_train,
    closer_to_train_share,
    closest_distance_ratio,
    copy_rate,
    leave_group_out,
    nearest_neighbours,
    neighbours_from_distances,
    nndr,
)

N, D = 500, 16
EACH = np.arange(N)  # every point is a patient


def _sets(kind, seed=0, d=D):
    """Training, held-out and synthetic points: fresh, copied, one tenth copied, or collapsed without copying."""
    rng = np.random.default_rng(seed)
    train, holdout, fresh = (rng.normal(size=(N, d)) for _ in range(3))
    copies = train[rng.integers(0, N, N)] + 0.05 * rng.normal(size=(N, d))
    some = np.where((EACH < N // 10)[:, None], copies, fresh)
    return train, holdout, {"fresh": fresh, "copies": copies, "some": some, "collapse": 0.3 * fresh}[kind]


def _figures(kind, d=D):
    train, holdout, synthetic = _sets(kind, d=d)
    near, near_holdout = (nearest_neighbours(points, train, None, EACH) for points in (synthetic, holdout))
    within = leave_group_out(train, EACH)
    return {
        "ratio": closest_distance_ratio(near.distance_1, near_holdout.distance_1),
        "copy_rate": copy_rate(near.distance_1, near_holdout.distance_1),
        "nndr<.6": (nndr(near) < 0.6).mean(),
        "closer": closer_to_train_share(synthetic, train, holdout, np.random.default_rng(0), repeats=1),
        "authentic": authenticity(near, within).mean(),
        "authentic_holdout": authenticity(near_holdout, within).mean(),
        "carlini<1": (carlini_ratio(synthetic, train, EACH) < 1).mean(),
        "fbb": auc(
            -nearest_neighbours(train, synthetic, None, EACH).distance_1,
            -nearest_neighbours(holdout, synthetic, None, EACH).distance_1,
        ),
    }


@pytest.mark.parametrize("d", [16, 64])
def test_fresh_points_give_the_null_values(d):
    found = _figures("fresh", d)
    assert found["ratio"] == pytest.approx(1, abs=0.02)
    assert found["copy_rate"] == pytest.approx(0.05, abs=0.025)
    assert found["nndr<.6"] < 0.01
    assert found["carlini<1"] < 0.01
    assert found["closer"] == pytest.approx(0.5, abs=0.07)
    assert found["authentic"] == pytest.approx({16: 0.70, 64: 0.79}[d], abs=0.06)  # three standard errors
    assert found["authentic"] == pytest.approx(found["authentic_holdout"], abs=3 * np.sqrt(0.25 * 2 / N))
    assert found["fbb"] == pytest.approx(0.5, abs=3 * 0.0183)  # its null standard error at 500 and 500


@pytest.mark.parametrize("d", [16, 64])
def test_copies_are_caught_by_every_figure(d):
    found = _figures("copies", d)
    assert found["ratio"] < 0.08
    assert found["copy_rate"] == found["nndr<.6"] == found["closer"] == found["carlini<1"] == 1
    assert found["authentic"] == 0
    share = 1 - np.exp(-1)  # of the training points that were copied at all
    assert found["fbb"] == pytest.approx(share + (1 - share) / 2, abs=0.025)  # 0.816


def test_one_tenth_of_copies_is_found_and_counted():
    found = _figures("some")
    assert found["ratio"] > 0.95  # a median cannot see it
    assert found["nndr<.6"] == pytest.approx(0.1, abs=0.01)
    assert found["carlini<1"] == pytest.approx(0.1, abs=0.01)
    assert found["copy_rate"] == pytest.approx(0.05 + 0.95 * 0.1, abs=0.03)
    assert found["authentic"] < found["authentic_holdout"] - 0.05


def test_mode_collapse_without_copying_is_told_from_copying():
    found = _figures("collapse")
    assert found["copy_rate"] > 0.8  # the false alarm
    assert found["nndr<.6"] < 0.01
    assert found["carlini<1"] < 0.01
    assert found["closer"] < 0.5
    assert found["fbb"] == pytest.approx(0.5, abs=3 * 0.0183)


def test_the_second_neighbour_belongs_to_another_patient():
    train = np.array([[0.0], [0.01], [5.0]])  # patient a has two nearly equal frames
    near = nearest_neighbours(np.array([[0.001]]), train, None, np.array(["a", "a", "b"]))
    assert near.index_1.tolist() == [0]
    assert near.distance_2_other[0] == pytest.approx(4.999)
    assert nndr(near)[0] < 0.001  # with the neighbouring frame as second neighbour it would be 0.11


def test_leaving_a_patient_out_leaves_out_all_its_points():
    points, patient = np.array([[0.0], [0.1], [3.0], [7.0]]), np.array(["a", "a", "b", "c"])
    found = leave_group_out(points, patient)
    assert found.index_1.tolist() == [2, 2, 1, 2]
    np.testing.assert_allclose(found.distance_1, [3.0, 2.9, 2.9, 4.0])
    np.testing.assert_allclose(found.distance_2_other, [7.0, 6.9, 4.0, 6.9])


def test_a_single_patient_has_no_second_neighbour():
    near = nearest_neighbours(np.array([[0.2]]), np.array([[0.0], [1.0]]), None, np.array(["a", "a"]))
    assert np.isnan(near.distance_2_other).all()
    assert np.isnan(nndr(near)).all()
    assert np.isnan(carlini_ratio(np.array([[0.2]]), np.array([[0.0], [1.0]]), np.array(["a", "a"]))).all()
    alone = leave_group_out(np.array([[0.0], [1.0]]), np.array(["a", "a"]))
    assert np.isnan(alone.distance_1).all()
    assert alone.index_1.tolist() == [-1, -1]


def test_an_exact_copy_is_at_distance_zero_and_blocks_change_nothing(monkeypatch):
    train, holdout, _ = _sets("fresh")
    assert (nearest_neighbours(train[:20], train, None, EACH).distance_1 == 0).all()
    patient = EACH // 7
    expected = nearest_neighbours(holdout[:50], train, None, patient), carlini_ratio(holdout[:50], train, patient)
    monkeypatch.setattr(neighbours, "_ROWS", 13)
    monkeypatch.setattr(nearest_search, "_ROWS", 13)
    found = nearest_neighbours(holdout[:50], train, None, patient), carlini_ratio(holdout[:50], train, patient)
    np.testing.assert_array_equal(found[0].index_1, expected[0].index_1)
    np.testing.assert_array_equal(found[0].distance_2_other, expected[0].distance_2_other)
    np.testing.assert_array_equal(found[1], expected[1])


def test_it_agrees_with_scikit_learn():
    from sklearn.neighbors import NearestNeighbors

    train, holdout, _ = _sets("fresh")
    distance, index = NearestNeighbors(n_neighbors=2).fit(train).kneighbors(holdout)
    near = nearest_neighbours(holdout, train, None, EACH)
    np.testing.assert_array_equal(near.index_1, index[:, 0])
    np.testing.assert_allclose(near.distance_1, distance[:, 0])
    np.testing.assert_allclose(near.distance_2_other, distance[:, 1])


def test_a_larger_training_set_is_not_closer_by_its_size():
    rng = np.random.default_rng(5)
    train, holdout, query = rng.normal(size=(600, 8)), rng.normal(size=(100, 8)), rng.normal(size=(400, 8))
    near, near_holdout = (nearest_neighbours(query, r, None, np.arange(len(r))).distance_1 for r in (train, holdout))
    assert (near < near_holdout).mean() > 0.8  # what would be reported without equal sizes
    balanced = closer_to_train_share(query, train, holdout, rng)
    assert balanced == pytest.approx(0.5, abs=0.07)
    by_patient = closer_to_train_share(
        query, train, holdout, rng, train_group=np.arange(600) // 6, holdout_group=np.arange(100) // 2, repeats=40
    )
    assert by_patient == pytest.approx(0.5, abs=0.07)


def test_copies_of_a_larger_training_set_still_score_above_chance_and_ties_count_half():
    rng = np.random.default_rng(6)
    train, holdout = rng.normal(size=(300, 8)), rng.normal(size=(100, 8))
    assert closer_to_train_share(train[:200], train, holdout, rng) == pytest.approx((1 + 1 / 3) / 2, abs=0.06)
    assert (closer_to_train(np.zeros((4, 3)), np.zeros((4, 2)), rng) == 0.5).all()


def test_patients_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="one patient per row"):
        neighbours_from_distances(np.zeros((2, 3)), None, np.array(["a", "b"]))
