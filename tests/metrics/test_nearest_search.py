from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from cmrsynth.metrics import nearest_search
from cmrsynth.metrics.nearest_search import two_nearest
from cmrsynth.metrics.neighbours import neighbours_from_distances


def naive(query, reference, query_group, reference_group):
    """Both distances and the index by a loop over all pairs."""
    first, index, second = np.full(len(query), np.nan), np.full(len(query), -1), np.full(len(query), np.nan)
    for i, q in enumerate(query):
        distance = np.array([np.sqrt(np.square(q.astype(float) - r).sum()) for r in reference])
        if query_group is not None:
            distance[reference_group == query_group[i]] = np.inf
        if not np.isfinite(distance).any():
            continue
        index[i] = distance.argmin()
        first[i] = distance[index[i]]
        others = distance[reference_group != reference_group[index[i]]]
        second[i] = others.min() if np.isfinite(others).any() else np.nan
    return first, index, second


def sets(kind: str):
    rng = np.random.default_rng(3)
    reference = rng.normal(size=(90, 20))
    patient = np.array([f"p{i // 4}" for i in range(90)])
    query = rng.normal(size=(40, 20))
    if kind == "far from zero":  # |q|^2 + |r|^2 - 2 q.r alone would lose every digit
        reference, query = reference + 1e6, query + 1e6
    elif kind == "duplicates":
        reference[30:60] = reference[:30]
        query[:20] = reference[40:60]
    elif kind == "nearly equal":
        reference[1:50] = reference[0] + 1e-9 * rng.normal(size=(49, 20))
        query[:20] = reference[0] + 1e-9 * rng.normal(size=(20, 20))
    elif kind == "one outlier":
        reference[7] = 1e12
    elif kind == "single precision":
        reference, query = reference.astype(np.float32), query.astype(np.float32)
    elif kind == "tiny":
        reference, query = reference * 1e-100, query * 1e-100
    elif kind == "all equal":
        reference[:], query[:] = 1.0, 1.0
    return query, reference, patient


KINDS = [
    "plain", "far from zero", "duplicates", "nearly equal", "one outlier", "single precision", "tiny", "all equal",
]  # fmt: skip


@pytest.mark.parametrize("number_format", ["float32", "bfloat16"])
@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_exact_loop(kind, groups, number_format, monkeypatch):
    monkeypatch.setattr(nearest_search, "_format", lambda: getattr(torch, number_format))
    monkeypatch.setattr(nearest_search, "_ROWS", 16)
    monkeypatch.setattr(nearest_search, "_VALUES", 200)
    query, reference, patient = sets(kind)
    own = np.array([f"p{i}" for i in range(len(query))]) if groups else None
    found, expected = two_nearest(query, reference, own, patient), naive(query, reference, own, patient)
    np.testing.assert_array_equal(found[1], expected[1])
    for one, other in zip(found[::2], expected[::2], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)
    if kind == "duplicates" and not groups:
        assert (found[0][:20] == 0).all()  # a copy is at distance zero, not near it
        assert (found[1][:20] == np.arange(10, 30)).all()  # and ties go to the first


def test_it_agrees_with_all_distances_where_there_are_many_dimensions():
    rng = np.random.default_rng(0)
    reference, query = rng.normal(size=(400, 1024)).astype(np.float32), rng.normal(size=(60, 1024)).astype(np.float32)
    query[:10] = reference[:10] + 1e-4 * rng.normal(size=(10, 1024))
    patient = np.arange(400) // 5
    found = two_nearest(query, reference, None, patient)
    exact = neighbours_from_distances(cdist(query.astype(float), reference.astype(float)), None, patient)
    np.testing.assert_array_equal(found[1], exact.index_1)
    np.testing.assert_allclose(found[0], exact.distance_1, rtol=1e-12)
    np.testing.assert_allclose(found[2], exact.distance_2_other, rtol=1e-12)


def test_moving_scaling_and_turning_all_points_moves_no_neighbour():
    query, reference, patient = sets("plain")
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(20, 20)))
    first, index, second = two_nearest(query, reference, None, patient)
    moved = two_nearest(3 * query @ turn + 5, 3 * reference @ turn + 5, None, patient)
    np.testing.assert_array_equal(moved[1], index)
    np.testing.assert_allclose(moved[0], 3 * first, rtol=1e-9)
    np.testing.assert_allclose(moved[2], 3 * second, rtol=1e-9)


@pytest.mark.parametrize(
    ("query", "reference", "group", "match"),
    [
        (np.zeros((2, 3)), np.zeros((4, 2)), np.zeros(4), "shapes"),
        (np.zeros((2, 3)), np.zeros((0, 3)), np.zeros(0), "at least one reference"),
        (np.zeros((2, 3)), np.zeros((4, 3)), np.zeros(3), "one patient per row"),
        (np.full((2, 3), np.nan), np.zeros((4, 3)), np.zeros(4), "NaN"),
    ],
)
def test_wrong_input_is_explained(query, reference, group, match):
    with pytest.raises(ValueError, match=match):
        two_nearest(query, reference, None, group)
