from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from cmrsynth.metrics.cliques import largest_clique, memorised_mask


def by_trial(adjacent: np.ndarray) -> int:
    count = len(adjacent)
    for size in range(count, 1, -1):
        for items in combinations(range(count), size):
            if all(adjacent[a, b] for a, b in combinations(items, 2)):
                return size
    return min(count, 1)


@pytest.mark.parametrize("seed", range(6))
def test_it_is_the_largest_of_all_sets(seed):
    rng = np.random.default_rng(seed)
    adjacent = np.triu(rng.random((9, 9)) < 0.2 + 0.1 * seed, 1)
    adjacent |= adjacent.T
    assert largest_clique(adjacent) == by_trial(adjacent)


def test_known_graphs():
    assert largest_clique(np.zeros((0, 0))) == 0
    assert largest_clique(np.zeros((4, 4))) == 1
    assert largest_clique(np.ones((200, 200))) == 200
    ring = np.eye(7, k=1) + np.eye(7, k=-1) + np.eye(7, k=6) + np.eye(7, k=-6)
    assert largest_clique(ring) == 2


def test_a_stored_image_is_found_among_other_samples():
    """One sample in fifty repeats; the rest are fresh: the 2 % of Carlini et al."""
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(100, 8))
    fresh = np.linalg.norm(samples[:, None] - samples[None], axis=-1)
    assert not memorised_mask(fresh, 0.2)
    samples[:2] = samples[0] + 1e-3 * rng.normal(size=(2, 8))
    assert memorised_mask(np.linalg.norm(samples[:, None] - samples[None], axis=-1), 0.2)


def test_a_matrix_that_is_no_graph_is_refused():
    with pytest.raises(ValueError, match="symmetric"):
        largest_clique(np.array([[0, 1], [0, 0]]))
    with pytest.raises(ValueError, match="square"):
        largest_clique(np.zeros((2, 3)))
